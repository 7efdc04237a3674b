package espalier.adapters.hira;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.ConfigException;
import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class HiraFormatTest {

  private static final JsonMapper JSON = new JsonMapper();
  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();

  private static AdapterCatalog.Read read(String fields) {
    return CATALOG.read((ObjectNode) JSON.readTree("{\"peft_type\": \"HIRA\"" + fields + "}"));
  }

  @Test
  void it_writes_exactly_the_fields_of_the_reference() {
    assertThat(CATALOG.write(HiraConfig.defaults()))
        .isEqualTo(
            JSON.readTree(
                """
                {"auto_mapping": null, "base_model_name_or_path": null, "exclude_modules": null,
                 "fan_in_fan_out": false, "hira_dropout": 0.0, "inference_mode": true,
                 "init_weights": true, "layers_pattern": null, "layers_to_transform": null,
                 "modules_to_save": null, "peft_type": "HIRA", "peft_version": "0.21.2", "r": 32,
                 "rank_pattern": {}, "revision": null, "target_modules": null, "task_type": null}
                """));
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    HiraConfig config =
        HiraConfig.defaults()
            .withR(4)
            .withDropout(0.25)
            .withInit(HiraInit.GAUSSIAN)
            .withRankPattern(Map.of("q_proj", 2))
            .withTargets(Targets.named("q_proj").except("x").onLayers(0).saving("head"));

    HiraConfig read = (HiraConfig) CATALOG.read(CATALOG.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @ParameterizedTest
  @CsvSource({"true, UNIFORM", "false, UNSET", "null, UNSET", "\"Gaussian\", GAUSSIAN"})
  void init_weights_is_a_flag_nothing_or_a_word(String written, HiraInit expected) {
    assertThat(((HiraConfig) read(", \"init_weights\": " + written).config()).init())
        .isEqualTo(expected);
  }

  @Test
  void an_unknown_start_is_refused_for_every_layer() {
    assertThatThrownBy(() -> read(", \"init_weights\": \"magic\""))
        .isInstanceOf(ConfigException.class)
        .hasMessage("init_weights is \"magic\" but true, false and gaussian are known");
  }

  @ParameterizedTest
  @ValueSource(doubles = {-0.1, 1.5, Double.NaN})
  void a_dropout_outside_of_its_range_is_refused(double dropout) {
    assertThatThrownBy(() -> HiraConfig.defaults().withDropout(dropout))
        .hasMessage("hira_dropout is %s but must lie in [0, 1]; 0 turns it off".formatted(dropout));
  }

  @Test
  void a_rank_of_nothing_is_refused() {
    assertThatThrownBy(() -> HiraConfig.defaults().withR(0))
        .hasMessage("r is 0 but a rank is 1 or more; 32 is the method's default");
    assertThatThrownBy(() -> HiraConfig.defaults().withRankPattern(Map.of("q", 0)))
        .hasMessage("rank_pattern has 0 for q but a rank is 1 or more");
  }

  @Test
  void a_pattern_without_layers_is_told_and_not_refused() {
    assertThat(read(", \"target_modules\": [\"q\"], \"layers_pattern\": \"h\"").warnings())
        .containsExactly("layers_pattern has no effect without layers_to_transform");
  }
}
