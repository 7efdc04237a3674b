package espalier.adapters.gralora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class GraloraFormatTest {

  private static final JsonMapper JSON = new JsonMapper();
  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();

  private static AdapterCatalog.Read read(String fields) {
    return CATALOG.read((ObjectNode) JSON.readTree("{\"peft_type\": \"GRALORA\"" + fields + "}"));
  }

  @Test
  void it_writes_exactly_the_fields_of_the_reference() {
    assertThat(CATALOG.write(GraloraConfig.defaults()))
        .isEqualTo(
            JSON.readTree(
                """
                {"alpha": 64, "auto_mapping": null, "base_model_name_or_path": null,
                 "bias": "none", "fan_in_fan_out": false, "gralora_dropout": 0.0, "gralora_k": 2,
                 "hybrid_r": 0, "inference_mode": true, "init_weights": true,
                 "layers_pattern": null, "layers_to_transform": null, "modules_to_save": null,
                 "peft_type": "GRALORA", "peft_version": "0.21.2", "r": 32, "revision": null,
                 "target_modules": null, "task_type": null}
                """));
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    GraloraConfig config =
        GraloraConfig.defaults()
            .withRAndK(8, 4)
            .withHybridR(3)
            .withAlpha(2.5)
            .withDropout(0.25)
            .withBias(BiasTraining.ADAPTED)
            .withNeutral(false)
            .withRankPattern(Map.of("q_proj", 4))
            .withTargets(Targets.named("q_proj").except("x").onLayers(0).saving("head"));

    var read = (GraloraConfig) CATALOG.read(CATALOG.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @Test
  void ranks_and_grids_that_do_not_fit_are_refused_all_at_once() {
    assertThatThrownBy(() -> read(", \"r\": 5, \"hybrid_r\": -1, \"bias\": \"all\""))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "hybrid_r is -1 but must not be negative; 0 leaves the plain part out; r is 5 but must"
                + " be divisible by gralora_k, which is 2; change one of them");
    assertThatThrownBy(() -> GraloraConfig.defaults().withR(0))
        .hasMessage("r is 0 but a rank is 1 or more; 32 is the method's default");
    assertThatThrownBy(() -> GraloraConfig.defaults().withK(0))
        .hasMessage("gralora_k is 0 but 1 or more is needed; 2 is the method's default");
    assertThatThrownBy(() -> GraloraConfig.defaults().withRankPattern(Map.of("q", 3)))
        .hasMessage(
            "rank_pattern has 3 for q but a rank is 1 or more and divisible by gralora_k, which is"
                + " 2");
  }

  @ParameterizedTest
  @ValueSource(doubles = {-0.1, 1.5, Double.NaN})
  void a_dropout_outside_of_its_range_is_refused(double dropout) {
    assertThatThrownBy(() -> GraloraConfig.defaults().withDropout(dropout))
        .hasMessage(
            "gralora_dropout is %s but must lie in [0, 1]; 0 turns it off".formatted(dropout));
  }

  @Test
  void words_that_mean_nothing_are_refused() {
    assertThatThrownBy(() -> read(", \"bias\": \"some\""))
        .isInstanceOf(ConfigException.class)
        .hasMessage("bias is some but none, all and gralora_only are known");
    assertThatThrownBy(() -> read(", \"init_weights\": \"gaussian\""))
        .hasMessage("init_weights is \"gaussian\" but true or false is expected");
  }

  @Test
  void layers_can_not_be_chosen_twice() {
    assertThatThrownBy(
            () -> read(", \"target_modules\": \"all-linear\", \"layers_to_transform\": 1"))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("layers_to_transform needs target_modules as a list of names");
    assertThat(read(", \"target_modules\": [\"q\"], \"layers_pattern\": \"h\"").warnings())
        .containsExactly("layers_pattern has no effect without layers_to_transform");
  }
}
