package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class QuantisedLinearTest {

  private final Scope scope = Scope.graph();

  @BeforeEach
  void seed() {
    manual_seed(11);
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static Linear layer(ScalarType dtype, long out, long in) {
    return new Linear(
        FourBitWeight.quantise(randn(out, in), FourBit.NF4, dtype), randn(out).to(dtype));
  }

  private static <T> T there(@Nullable T value) {
    return Objects.requireNonNull(value);
  }

  private static Tensor bias(Linear layer) {
    return there(layer.bias());
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  @ParameterizedTest(name = "a panel of {0} values")
  @ValueSource(longs = {1 << 24, 700, 64, 1})
  void output_and_gradient_are_those_of_the_decoded_weight(long panel) {
    try (Linear layer = layer(ScalarType.Float, 24, 40)) {
      Tensor x = randn(2, 5, 40).set_requires_grad(true);
      Tensor same = x.detach().clone().set_requires_grad(true);
      Tensor g = randn(2, 5, 24);

      Tensor y = QuantisedProduct.of(layer, there(layer.quantised()), x, bias(layer), panel);
      y.mul(g).sum().backward();
      Tensor wanted = linear(same, layer.weight(), new TensorOptional(bias(layer)));
      wanted.mul(g).sum().backward();

      assertThat(gap(y, wanted)).isLessThan(1e-4);
      assertThat(gap(x.grad(), same.grad())).isLessThan(1e-4);
    }
  }

  @Test
  void in_bfloat16_it_gives_what_the_decoded_weight_gives() {
    try (Linear layer = layer(ScalarType.BFloat16, 48, 64)) {
      Tensor x = randn(20, 64).to(ScalarType.BFloat16).set_requires_grad(true);

      Tensor y = layer.forward(x);
      y.sum().backward();

      Tensor wide = x.detach().to(ScalarType.Float);
      Tensor wanted =
          linear(
              wide,
              layer.weight().to(ScalarType.Float),
              new TensorOptional(bias(layer).to(ScalarType.Float)));
      assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      // outputs of some 25 are rounded to 8 bits
      assertThat(gap(y.to(ScalarType.Float), wanted)).isLessThan(0.3);
      assertThat(x.grad().scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
    }
  }

  @Test
  void a_layer_changes_its_form_and_computes_the_same() {
    try (Linear layer = layer(ScalarType.Float, 8, 64)) {
      Tensor x = randn(3, 64);
      Tensor before = layer.forward(x).clone();

      layer.dequantise();

      assertThat(layer.quantised()).isNull();
      assertThat(layer.parameters()).containsKey("weight");
      assertThat(gap(layer.forward(x), before)).isLessThan(1e-5);

      layer.quantise(Int8Weight.quantise(layer.weight(), ScalarType.Float));

      assertThat(layer.parameters()).doesNotContainKey("weight");
      assertThat(gap(layer.forward(x), before)).isBetween(1e-6, 0.5);
    }
  }

  @Test
  void a_transposed_layer_shows_its_weight_as_the_checkpoint_stores_it() {
    Tensor weight = randn(6, 64);
    try (var layer =
        new TransposedLinear(FourBitWeight.quantise(weight, FourBit.NF4, ScalarType.Float), null)) {

      assertThat(layer.in()).isEqualTo(64);
      assertThat(layer.out()).isEqualTo(6);
      assertThat(layer.weight().shape()).containsExactly(6, 64);
      assertThat(layer.storedWeight().shape()).containsExactly(64, 6);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void a_layer_over_float8_computes_in_its_inputs_dtype(boolean transposed) {
    Tensor stored = randn(48, 64).to(ScalarType.Float8_e4m3fn);
    Tensor shown = transposed ? stored.t().contiguous() : stored;
    try (Linear layer = transposed ? new TransposedLinear(shown, null) : new Linear(shown, null)) {
      Tensor x = randn(20, 64).set_requires_grad(true);
      Tensor same = x.detach().clone().set_requires_grad(true);

      Tensor y = layer.forward(x);
      y.square().sum().backward();
      Tensor wanted = linear(same, stored.to(ScalarType.Float));
      wanted.square().sum().backward();

      assertThat(gap(y, wanted)).isLessThan(1e-4);
      assertThat(gap(x.grad(), same.grad())).isLessThan(1e-2); // of gradients of some 1000
      assertThat(layer.forward(x.to(ScalarType.BFloat16)).scalar_type().intern())
          .isEqualTo(ScalarType.BFloat16);
    }
  }

  @Test
  void a_trained_bias_gets_its_gradient() {
    try (Linear layer = layer(ScalarType.Float, 8, 64)) {
      Tensor bias = bias(layer).set_requires_grad(true);

      layer.forward(randn(3, 64)).sum().backward();

      assertThat(bias.grad().select(0, 0).item_double()).isEqualTo(3);
    }
  }
}
