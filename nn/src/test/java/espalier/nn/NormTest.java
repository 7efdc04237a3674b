package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.silu;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NormTest {

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void an_rms_norm_and_its_gradient_are_the_plain_formulas(boolean plusOne) {
    try (var _ = Scope.graph();
        var norm = new RmsNorm(randn(8), 1e-6, plusOne)) {
      Tensor x = randn(2, 5, 8).set_requires_grad(true);
      Tensor g = randn(2, 5, 8);
      norm.plain(x).mul(g).sum().backward();
      Tensor want = x.grad().clone();
      x.mutable_grad().reset();

      Tensor y = norm.forward(x);
      y.mul(g).sum().backward();

      assertThat(y.allclose(norm.plain(x), 1e-5, 1e-6, false)).isTrue();
      assertThat(x.grad().allclose(want, 1e-5, 1e-5, false)).isTrue();
    }
  }

  @Test
  void an_rms_norm_gives_float64_for_float64() {
    try (var _ = Scope.graph();
        var norm = new RmsNorm(randn(8).to(ScalarType.Double), 1e-6)) {
      Tensor x = randn(2, 5, 8).to(ScalarType.Double).set_requires_grad(true);

      Tensor y = norm.forward(x);
      y.sum().backward();

      assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.Double);
      assertThat(x.grad().scalar_type().intern()).isEqualTo(ScalarType.Double);
      assertThat(y.allclose(norm.plain(x), 1e-5, 1e-6, false)).isTrue();
    }
  }

  @Test
  void a_gated_activation_has_the_gradients_of_its_formula() {
    try (var _ = Scope.graph()) {
      Tensor a = randn(4, 8).set_requires_grad(true);
      Tensor b = randn(4, 8).set_requires_grad(true);
      silu(a).mul(b).mul(b).sum().backward();
      Tensor wantA = a.grad().clone();
      Tensor wantB = b.grad().clone();
      a.mutable_grad().reset();
      b.mutable_grad().reset();

      SwiGlu.of(a, b).mul(b).sum().backward();

      assertThat(a.grad().allclose(wantA, 1e-5, 1e-6, false)).isTrue();
      assertThat(b.grad().allclose(wantB, 1e-5, 1e-6, false)).isTrue();
    }
  }
}
