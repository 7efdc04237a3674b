package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

class HalfPrecisionTest {

  @Test
  void a_widened_product_rounds_once_and_has_the_gradient_of_the_plain_one() {
    manual_seed(1);
    try (var _ = Scope.graph()) {
      Tensor x = randn(20, 8).to(ScalarType.BFloat16).set_requires_grad(true);
      Tensor w = randn(6, 8).to(ScalarType.BFloat16);
      Tensor b = randn(6).to(ScalarType.BFloat16);
      Tensor g = randn(20, 6).to(ScalarType.BFloat16);
      Tensor exact =
          linear(
              x.detach().to(ScalarType.Float),
              w.to(ScalarType.Float),
              new TensorOptional(b.to(ScalarType.Float)));
      Tensor exactGradient = g.to(ScalarType.Float).mm(w.to(ScalarType.Float));

      Tensor y = HalfPrecision.linearWide(x, w, b);
      y.mul(g).sum().backward();

      assertThat(y.equal(exact.to(ScalarType.BFloat16))).isTrue();
      assertThat(x.grad().equal(exactGradient.to(ScalarType.BFloat16))).isTrue();
    }
  }
}
