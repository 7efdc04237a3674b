package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.LayerKind;
import espalier.adapters.Tree;
import espalier.nn.Adaptable;
import espalier.nn.Linear;
import espalier.nn.Recompute;
import espalier.nn.Scope;
import espalier.nn.TransposedLinear;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class WeightGradientsTest {

  private final Tree.Draw draw = new Tree.Draw(3);
  private final Linear below = new Linear(draw.normal(5, 4), draw.normal(5));
  private final Linear above = new Linear(draw.normal(3, 5), null);
  private final Map<String, Linear> layers = Map.of("below", below, "above", above);

  private Tensor loss(Tensor x) {
    return above.forward(below.forward(x).tanh()).square().sum();
  }

  /** The same gradients by autograd through the weights themselves. */
  private static Tensor byAutograd(Linear layer, Runnable backward) {
    Tensor w = layer.storedWeight();
    w.set_requires_grad(true);
    backward.run();
    Tensor gradient = new Tensor(w.grad()).clone();
    w.mutable_grad().reset();
    w.set_requires_grad(false);
    return gradient;
  }

  private static boolean close(Tensor got, Tensor want) {
    return got.allclose(want, 1e-5, 1e-5, false);
  }

  @Test
  void frozen_weights_get_the_gradient_that_autograd_would_give_them() {
    Tensor x = draw.normal(2, 6, 4);
    try (var _ = Scope.graph()) {
      Tensor wantBelow = byAutograd(below, () -> loss(x).backward());
      Tensor wantAbove = byAutograd(above, () -> loss(x).backward());

      try (var gradients = new WeightGradients(layers)) {
        loss(x).backward();

        assertThat(close(gradients.total("below"), wantBelow)).isTrue();
        assertThat(close(gradients.total("above"), wantAbove)).isTrue();
        assertThat(below.weight().requires_grad()).isFalse();
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = LayerKind.class,
      names = {"CONVOLUTION_1D", "CONVOLUTION_2D", "CONVOLUTION_3D"})
  void a_frozen_kernel_gets_the_gradient_that_autograd_would_give_it(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Tensor x = kind.input(ScalarType.Float);
    try (var _ = Scope.graph()) {
      layer.weight().set_requires_grad(true);
      layer.forward(x).square().sum().backward();
      Tensor want = new Tensor(layer.weight().grad()).clone();
      layer.weight().mutable_grad().reset();
      layer.weight().set_requires_grad(false);

      try (var gradients = new WeightGradients(Map.of("layer", layer))) {
        layer.forward(x).square().sum().backward();

        assertThat(close(gradients.total("layer"), want)).isTrue();
      }
    }
  }

  @Test
  void a_gradient_that_is_taken_is_the_callers_and_no_longer_held() {
    Tensor x = draw.normal(6, 4);
    try (var _ = Scope.graph();
        var gradients = new WeightGradients(layers)) {
      assertThatThrownBy(() -> gradients.take("above"))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith("above got no gradient");
      loss(x).backward();
      Tensor want = gradients.total("above").clone();

      try (Tensor taken = gradients.take("above")) {
        assertThat(taken.equal(want)).isTrue();
      }
      assertThatThrownBy(() -> gradients.total("above"))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("above is not among the observed layers [below]");
    }
  }

  @Test
  void the_mean_is_over_backward_passes() {
    Tensor x = draw.normal(6, 4);
    try (var _ = Scope.graph();
        var gradients = new WeightGradients(layers)) {
      loss(x).backward();
      Tensor once = gradients.mean("above").clone();

      loss(x).backward();
      loss(x).backward();

      assertThat(gradients.passes("above")).isEqualTo(3);
      assertThat(close(gradients.mean("above"), once)).isTrue();
      assertThat(close(gradients.total("above"), once.mul(new Scalar(3)))).isTrue();
    }
  }

  @Test
  void a_layer_that_stores_its_weight_transposed_has_its_gradient_as_out_by_in() {
    var layer = new TransposedLinear(draw.normal(4, 3), null);
    Tensor x = draw.normal(6, 4);
    try (var _ = Scope.graph()) {
      Tensor want = byAutograd(layer, () -> layer.forward(x).square().sum().backward());

      try (var gradients = new WeightGradients(Map.of("layer", layer))) {
        layer.forward(x).square().sum().backward();

        assertThat(close(gradients.total("layer"), want.t())).isTrue();
      }
    }
  }

  @Test
  void recomputed_blocks_count_once() {
    Tensor x = draw.normal(6, 4);
    try (var _ = Scope.graph();
        var gradients = new WeightGradients(layers)) {
      loss(x).backward();
      Tensor plain = gradients.total("below").clone();

      Recompute.in(x, this::loss).backward();

      assertThat(gradients.passes("below")).isEqualTo(2);
      assertThat(close(gradients.total("below"), plain.mul(new Scalar(2)))).isTrue();
    }
  }

  @Test
  void half_precision_is_summed_in_float32() {
    var layer = new Linear(draw.normal(3, 4).to(ScalarType.BFloat16), null);
    Tensor x = draw.normal(6, 4).to(ScalarType.BFloat16);
    try (var _ = Scope.graph();
        var gradients = new WeightGradients(Map.of("layer", layer))) {
      for (int i = 0; i < 300; i++) {
        layer.forward(x).sum().backward();
      }

      Tensor want = x.to(ScalarType.Float).sum(0).expand(3, 4).mul(new Scalar(300));
      assertThat(gradients.total("layer").scalar_type().intern()).isEqualTo(ScalarType.Float);
      assertThat(close(gradients.total("layer"), want)).isTrue();
    }
  }

  @Test
  void a_layer_without_a_backward_pass_is_named() {
    try (var _ = Scope.graph();
        var gradients = new WeightGradients(layers)) {
      try (var _ = new NoGradGuard()) {
        Tensor _ = loss(draw.normal(2, 4));
      }

      assertThatThrownBy(() -> gradients.mean("below"))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith("below got no gradient");
    }
  }

  @Test
  void only_one_observer_is_on_a_layer_and_it_leaves() {
    try (var _ = new WeightGradients(Map.of("above", above))) {
      assertThatThrownBy(() -> new WeightGradients(layers))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("observed already");
    }

    assertThat(above.observed()).isFalse();
    assertThat(below.observed()).isFalse();
  }
}
