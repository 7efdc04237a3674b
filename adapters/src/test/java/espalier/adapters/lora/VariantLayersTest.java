package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.LayerKind;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Which variant and which start exists for which layer; all others are refused by name. */
class VariantLayersTest {

  /**
   * One setting of LoRA.
   *
   * @param field what a refusal calls it
   * @param exists for which layers it is there
   */
  record Setting(String field, LoraConfigBuilder config, Predicate<Adaptable> exists) {

    @Override
    public String toString() {
      return field;
    }
  }

  private static boolean linear(Adaptable layer) {
    return layer instanceof Linear;
  }

  private static boolean dense(Adaptable layer) {
    return layer instanceof Linear || layer instanceof Embedding || layer instanceof Convolution;
  }

  private static Setting variant(LoraVariant variant, Predicate<Adaptable> exists) {
    return new Setting(variant.field(), config().variant(variant), exists);
  }

  private static Setting start(LoraInit init, Predicate<Adaptable> exists) {
    return new Setting("init_lora_weights " + LoraFormat.word(init), config().init(init), exists);
  }

  private static LoraConfigBuilder config() {
    return LoraConfig.builder().r(2);
  }

  private static Stream<Setting> settings() {
    return Stream.of(
        new Setting("use_rslora", config().rslora(true), _ -> true),
        variant(new LoraVariant.Dora(), VariantLayersTest::dense),
        variant(new LoraVariant.Alora(List.of(5)), VariantLayersTest::linear),
        variant(new LoraVariant.Velora(4, 1, "batch_average"), VariantLayersTest::linear),
        variant(
            new LoraVariant.Monteclora(2, false, 0.1, 1e-4, 1e-5, 150), VariantLayersTest::linear),
        variant(new LoraVariant.Bdlora(null, List.of("layer"), 2, true), VariantLayersTest::linear),
        variant(new LoraVariant.Arrow(1, 1, false, null, null, null), VariantLayersTest::linear),
        variant(
            new LoraVariant.Kasa(1e-4, 1e-3),
            layer -> layer instanceof Linear l && !l.transposed()),
        new Setting(
            "lora_bias",
            config().loraBias(true),
            layer -> layer instanceof Linear || layer instanceof Convolution),
        new Setting(
            "lora_dropout", config().dropout(0.5), layer -> !(layer instanceof ExpertWeight)),
        start(new LoraInit.Unset(), _ -> true),
        start(new LoraInit.Gaussian(), _ -> true),
        start(new LoraInit.Orthogonal(), VariantLayersTest::linear),
        start(new LoraInit.Pissa(), VariantLayersTest::linear),
        start(new LoraInit.FastPissa(1), VariantLayersTest::linear),
        start(new LoraInit.Olora(), VariantLayersTest::linear),
        start(new LoraInit.Loftq(4, 1), VariantLayersTest::linear),
        start(new LoraInit.Mica(), layer -> layer instanceof Linear || layer instanceof Embedding));
  }

  static Stream<Arguments> all() {
    var kinds = new ArrayList<String>();
    for (LayerKind kind : LayerKind.values()) {
      kinds.add(kind.name());
    }
    kinds.add("EXPERTS");
    return settings().flatMap(s -> kinds.stream().map(kind -> Arguments.of(s, kind)));
  }

  private static Adaptable layer(String kind) {
    return kind.equals("EXPERTS")
        ? new ExpertWeight(new Tree.Draw(1).normal(3, 6, 8), false)
        : LayerKind.valueOf(kind).layer(ScalarType.Float);
  }

  @ParameterizedTest
  @MethodSource("all")
  void a_setting_is_there_for_a_layer_or_is_refused_by_name(Setting setting, String kind) {
    LoraConfig config = setting.config().build();
    try (var _ = Scope.open();
        Adaptable layer = layer(kind)) {
      if (setting.exists().test(layer)) {
        try (Adapter made = config.create(layer, "a.layer", Init.shared(1))) {
          assertThat(made.state()).hasSizeGreaterThanOrEqualTo(2);
        }
      } else {
        assertThatThrownBy(() -> config.create(layer, "a.layer", Init.shared(1)))
            .isInstanceOf(UnsupportedAdapterException.class)
            .hasMessageStartingWith("a.layer is a " + layer.typeName())
            .hasMessageContaining(setting.field());
      }
    }
  }
}
