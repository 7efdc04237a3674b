package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Tree;
import espalier.nn.Scope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

class RowNormsTest {

  private final Tree.Draw draw = new Tree.Draw(3);

  private static double worst(Tensor w, Tensor a, Tensor b, double s) {
    try (var norms = new RowNorms(() -> w);
        var _ = new NoGradGuard()) {
      Tensor sum =
          w.to(ScalarType.Double)
              .add(b.to(ScalarType.Double).matmul(a.to(ScalarType.Double)).mul(new Scalar(s)));
      Tensor exact = RowNorms.lengths(sum);
      Tensor ours = norms.of(a, b, s).to(ScalarType.Double);
      return ours.sub(exact).div(exact).abs().max().item_double();
    }
  }

  @Test
  void the_sum_of_products_is_the_length_of_the_summed_row() {
    try (var _ = Scope.open()) {
      for (double size : new double[] {1e-3, 0.1, 1, 10}) {
        Tensor w = draw.normal(64, 300);
        Tensor a = draw.normal(8, 300);
        Tensor b = draw.normal(64, 8).mul(new Scalar(size));

        // float32: 2e-7 was seen
        assertThat(worst(w, a, b, 1.7)).as("B times " + size).isLessThan(2e-6);
      }
    }
  }

  @Test
  void rows_that_nearly_cancel_out_keep_their_digits() {
    try (var _ = Scope.open()) {
      Tensor a = draw.normal(8, 300);
      Tensor b = draw.normal(64, 8);
      Tensor rest = draw.normal(64, 300).mul(new Scalar(1e-3));
      Tensor w = b.matmul(a).neg().add(rest);

      // what float32 leaves of rows that are 1e-3 of their parts
      assertThat(worst(w, a, b, 1)).isLessThan(1e-4);
    }
  }

  @Test
  void a_weight_in_half_precision_is_measured_in_float32_block_by_block() {
    try (var _ = Scope.open()) {
      Tensor w = draw.normal(700, 2000).to(ScalarType.BFloat16); // more than one block
      Tensor a = draw.normal(4, 2000);
      Tensor b = draw.normal(700, 4).mul(new Scalar(0.1));

      assertThat(worst(w, a, b, 2)).isLessThan(2e-6);
    }
  }
}
