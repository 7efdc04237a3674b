package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.LayerKind;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.List;
import java.util.stream.Stream;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Which of the variants that need a vector of inputs a position exists on which layer. */
class VariantLayersTest {

  static Stream<Arguments> all() {
    return Stream.of(
            new LoraVariant.Alora(List.of(5)),
            new LoraVariant.Velora(4, 1, "batch_average"),
            new LoraVariant.Monteclora(2, false, 0.1, 1e-4, 1e-5, 150),
            new LoraVariant.Arrow(1, 1, false, null, null, null))
        .flatMap(v -> Stream.of(LayerKind.values()).map(kind -> Arguments.of(v, kind)));
  }

  @ParameterizedTest
  @MethodSource("all")
  void a_variant_is_made_for_linear_layers_and_refused_by_name_on_others(
      LoraVariant variant, LayerKind kind) {
    var config = LoraConfig.builder().r(2).variant(variant).build();
    try (var _ = Scope.open();
        Adaptable layer = kind.layer(ScalarType.Float)) {
      if (layer instanceof Linear) {
        try (Adapter made = config.create(layer, "l", Init.shared(1))) {
          assertThat(made.state()).containsKeys("lora_A.weight", "lora_B.weight");
        }
      } else {
        assertThatThrownBy(() -> config.create(layer, "l", Init.shared(1)))
            .isInstanceOf(UnsupportedAdapterException.class)
            .hasMessageContaining(variant.field())
            .hasMessageContaining("l is a " + layer.typeName());
      }
    }
  }
}
