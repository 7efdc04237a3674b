package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.randn;

import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FewRowsTest {

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 5, 16})
  void the_product_of_a_few_rows_is_that_of_the_formula(long rows) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Tensor x = randn(2, rows, 300);
      Tensor w = randn(400, 300);
      Tensor bias = randn(400);
      assertThat(FewRows.fit(x, w)).isTrue();

      Tensor y = new Linear(w, bias).base(x);

      Tensor exact =
          x.to(ScalarType.Double)
              .matmul(w.to(ScalarType.Double).t())
              .add(bias.to(ScalarType.Double));
      assertThat(y.sub(exact).abs().max().item_double()).isLessThan(1e-4);
      assertThat(y.shape()).containsExactly(2, rows, 400);
    }
  }

  @Test
  void a_product_that_needs_a_gradient_is_left_to_autograd() {
    try (var _ = Scope.graph()) {
      Tensor w = randn(400, 300);
      Tensor x = randn(4, 300).set_requires_grad(true);

      new Linear(w, null).base(x).sum().backward();

      assertThat(FewRows.fit(x, w)).isFalse();
      assertThat(x.grad().sub(w.sum(0).expand(4, 300)).abs().max().item_float()).isLessThan(1e-4f);
    }
  }

  @Test
  void many_rows_are_left_to_the_BLAS() {
    try (var _ = Scope.open()) {
      assertThat(FewRows.fit(randn(200, 300), randn(400, 300))).isFalse();
    }
  }
}
