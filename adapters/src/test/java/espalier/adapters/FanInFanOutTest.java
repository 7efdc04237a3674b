package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.gralora.GraloraConfig;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.nn.TransposedLinear;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@code fan_in_fan_out} is what the layer says, whatever the config does. */
class FanInFanOutTest {

  static Stream<Named<AdapterConfig>> methods() {
    return Stream.<AdapterConfig>of(
            HiraConfig.defaults().withR(2),
            GraloraConfig.defaults().withR(4),
            ShiraConfig.defaults().withR(1))
        .map(config -> Named.of(config.peftType(), config));
  }

  @ParameterizedTest
  @MethodSource("methods")
  void true_on_a_linear_layer_is_told_of_and_ignored(AdapterConfig config) {
    try (var _ = Scope.graph()) {
      var draw = new Tree.Draw(3);
      var layer = new Linear(draw.normal(8, 12), null);
      Adapters adapters = Tree.adapters(layer);
      Targets said = Targets.named("layer").withFanInFanOut(true);
      AdapterConfig given = config.withTargets(said);

      Attached attached = adapters.attach("one", given, 1);

      assertThat(attached.warnings())
          .contains(
              "fan_in_fan_out is true but a Linear stores its weight as [out, in]; the layer"
                  + " decides");
      assertThat(given.targets().fanInFanOut()).isTrue();
      assertThat(adapters.config("one").targets().fanInFanOut()).isFalse();
      Tensor x = draw.normal(2, 12);
      assertThat(layer.forward(x).allclose(layer.base(x))).isTrue();
    }
  }

  /** SHiRA adapts one of the two kinds alone. */
  static Stream<Named<AdapterConfig>> methodsForBoth() {
    return methods().filter(named -> !(named.getPayload() instanceof ShiraConfig));
  }

  @ParameterizedTest
  @MethodSource("methodsForBoth")
  void in_a_model_of_both_kinds_each_layer_decides_and_the_callers_config_stays(
      AdapterConfig config) {
    try (var _ = Scope.graph()) {
      var draw = new Tree.Draw(3);
      Tree tree =
          Tree.empty()
              .with("plain", new Linear(draw.normal(8, 12), null))
              .with("stored", new TransposedLinear(draw.normal(12, 8), null));
      Adapters adapters = Adapters.of(tree, ModelFacts.of("gpt2"));
      AdapterConfig given = config.withTargets(Targets.named("plain", "stored"));

      Attached attached = adapters.attach("one", given, 1);

      assertThat(attached.warnings())
          .contains(
              "fan_in_fan_out is false but a %s stores its weight as [in, out]; the layer decides"
                  .formatted(tree.at("stored").typeName()));
      assertThat(given.targets().fanInFanOut()).isFalse();
      Tensor x = draw.normal(2, 12);
      assertThat(tree.at("stored").forward(x).size(1)).isEqualTo(8);
      assertThat(tree.at("plain").forward(x).size(1)).isEqualTo(8);
    }
  }
}
