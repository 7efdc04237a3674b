package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.randn;

import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class PackedWeightTest {

  private static final int OFTEN = 12; // more than it takes until the weight is packed

  private static double gap(Linear layer, Tensor x) {
    try (var _ = new NoGradGuard()) {
      return layer.forward(x).sub(linear(x, layer.weight())).abs().max().item_double();
    }
  }

  @Test
  void a_layer_that_is_asked_again_and_again_gives_the_same_product() {
    try (var _ = Scope.open();
        var layer = new Linear(randn(256, 320), null)) {
      Tensor x = randn(8, 320);

      for (int i = 0; i < OFTEN; i++) {
        assertThat(gap(layer, x)).isLessThan(1e-3);
      }
    }
  }

  @Test
  void what_is_written_into_the_weight_or_put_in_its_place_counts_at_once() {
    try (var _ = Scope.open();
        var layer = new Linear(randn(256, 320), null)) {
      Tensor x = randn(8, 320);
      for (int i = 0; i < OFTEN; i++) {
        gap(layer, x);
      }

      try (var _ = new NoGradGuard()) {
        layer.weight().mul_(new Scalar(-3));
      }
      double written = gap(layer, x);
      for (int i = 0; i < OFTEN; i++) {
        gap(layer, x);
      }
      layer.rebase(randn(256, 320));

      assertThat(written).isLessThan(1e-3);
      assertThat(gap(layer, x)).isLessThan(1e-3);
    }
  }

  @Test
  void a_product_of_other_rows_than_it_was_packed_for_is_right_too() {
    try (var _ = Scope.open();
        var layer = new Linear(randn(256, 320), randn(256))) {
      for (int i = 0; i < OFTEN; i++) {
        layer.forward(randn(8, 320));
      }

      for (int rows : new int[] {2, 5, 32, 33, 100}) {
        Tensor x = randn(rows, 320);
        try (var _ = new NoGradGuard()) {
          Tensor expected = x.matmul(layer.weight().t()).add(layer.bias());
          assertThat(layer.forward(x).sub(expected).abs().max().item_double()).isLessThan(1e-3);
        }
      }
    }
  }
}
