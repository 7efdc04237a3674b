package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.node.ObjectNode;

final class DeparturesTest {

  @Test
  void a_saved_module_is_expected_only_where_whole_names_agree() {
    ObjectNode expected =
        json(
            """
            {"given": {"modules_to_save": ["norm"]},
             "wrapped_modules": ["model.0.input_norm", "model.norm"],
             "trainable_names": ["base_model.model.model.0.input_norm.weight",
                                 "base_model.model.model.norm.weight"],
             "adapter_file": {"base_model.model.model.0.input_norm.weight": [32],
                              "base_model.model.model.norm.weight": [32]},
             "parameters": {"trainable": 64, "all": 1032, "percent": "6.2016"}}
            """);

    Departures.wholeNamesOnly(expected);

    assertThat(expected.toString())
        .isEqualTo(
            json("""
            {"given": {"modules_to_save": ["norm"]},
             "wrapped_modules": ["model.norm"],
             "trainable_names": ["base_model.model.model.norm.weight"],
             "adapter_file": {"base_model.model.model.norm.weight": [32]},
             "parameters": {"trainable": 32, "all": 1000, "percent": "3.2000"}}
            """)
                .toString());
  }

  @Test
  void nothing_changes_where_no_name_is_hit_by_accident() {
    String text =
        """
        {"given": {"modules_to_save": ["norm"]}, "wrapped_modules": ["model.norm", "model.score"],
         "adapter_file": {}, "parameters": {"trainable": 1, "all": 2, "percent": "50.0000"}}
        """;
    ObjectNode expected = json(text);

    Departures.wholeNamesOnly(expected);

    assertThat(expected).isEqualTo(json(text));
  }

  @Test
  void weights_are_stored_as_any_target_stores_them() {
    String text =
        "{\"targeted_modules\": [\"a\", \"b\"], \"adapter_config\": {\"fan_in_fan_out\": %s}}";
    ObjectNode one = json(text.formatted(false));
    ObjectNode none = json(text.formatted(true));

    Departures.storageOfAnyTarget(one, "a"::equals);
    Departures.storageOfAnyTarget(none, "c"::equals);

    assertThat(one).isEqualTo(json(text.formatted(true)));
    assertThat(none).isEqualTo(json(text.formatted(false)));
  }

  @Test
  void a_tie_between_layers_of_other_names_is_overlooked_by_the_reference_alone() {
    try (PretrainedModel gpt2 = GoldenModel.load(Path.of("models/gpt2"));
        PretrainedModel llama = GoldenModel.load(Path.of("models/llama"))) {
      String text = "{\"ensure_weight_tying\": true, \"target_modules\": [\"%s\"]}";

      assertThat(OverlookedTies.in(json(text.formatted("wte")), gpt2.model())).isTrue();
      assertThat(OverlookedTies.in(json(text.formatted("lm_head")), gpt2.model())).isFalse();
      assertThat(OverlookedTies.in(json(text.formatted("wte")), llama.model())).isFalse();
    }
  }

  @Test
  void a_dilated_convolution_is_adapted_by_lora() {
    String layer = "{\"method\": \"lora\", \"layer\": {\"type\": \"conv2d\", \"dilation\": %d}}";

    assertThat(Departures.accepted(golden(layer.formatted(2)))).isNotNull();
    assertThat(Departures.accepted(golden(layer.formatted(1)))).isNull();
  }

  @Test
  void combining_needs_a_weight_for_each_adapter() {
    String steps =
        "{\"steps\": [{\"do\": \"combine\", \"args\": {\"adapters\": [\"a\", \"b\"], \"weights\":"
            + " [%s]}}]}";

    assertThat(Departures.refused(golden(steps.formatted("1.0")))).isNotNull();
    assertThat(Departures.refused(golden(steps.formatted("1.0, 2.0")))).isNull();
  }

  private static Case combining(String config, String args) {
    return golden(
        """
        {"method": "lora", "layer": {"type": "conv3d"},
         "steps": [{"do": "create", "config": {"type": "lora", %s "r": 4}},
                   {"do": "add", "adapter": "b", "config": {"type": "lora", "r": 4}},
                   {"do": "combine", "args": {"adapters": ["default", "b"], "weights": [1.0, 1.0],
                                              "adapter_name": "c", %s}}]}
        """
            .formatted(config, args));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "~~ | ~\"adapter_name\": \"b\"~",
        "~\"use_dora\": true,~ | ~\"combination_type\": \"cat\"~",
        "~\"kasa_config\": {},~ | ~\"combination_type\": \"svd\"~",
        "~\"alora_invocation_tokens\": [1],~ | ~\"combination_type\": \"cat\"~",
        "~\"bias\": \"all\",~ | ~\"combination_type\": \"cat\"~",
        "~~ | ~\"combination_type\": \"dare_ties\", \"density\": 0.0~",
        "~~ | ~\"combination_type\": \"cat\", \"density\": -0.5~",
        "~~ | ~\"combination_type\": \"svd\", \"svd_rank\": 0~",
        "~~ | ~\"combination_type\": \"cat\", \"svd_driver\": \"none\"~",
      })
  void combinations_that_would_be_wrong_are_refused(String config, String args) {
    assertThat(Departures.refused(combining(config, args))).isNotNull();
    assertThat(Departures.accepted(combining(config, args))).isNull();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "~~ | ~\"combination_type\": \"svd\"~ | true",
        "~~ | ~\"combination_type\": \"svd\", \"svd_rank\": 99~ | true",
        "~~ | ~\"combination_type\": \"cat\"~ | false",
        "~\"use_dora\": false,~ | ~\"combination_type\": \"ties\", \"density\": 0.0~ | false",
      })
  void updates_of_every_convolution_are_decomposed(String config, String args, boolean lifted) {
    assertThat(Departures.refused(combining(config, args))).isNull();
    assertThat(Departures.accepted(combining(config, args)) != null).isEqualTo(lifted);
  }

  @Test
  void a_name_of_no_adapter_can_not_be_merged() {
    String steps =
        "{\"steps\": [{\"do\": \"create\", \"config\": {}}, {\"do\": \"merge\", \"adapters\":"
            + " [\"%s\"]}]}";

    assertThat(Departures.refused(golden(steps.formatted("other")))).isNotNull();
    assertThat(Departures.refused(golden(steps.formatted("default")))).isNull();
  }

  @Test
  void a_negative_dropout_is_refused() {
    String steps = "{\"steps\": [{\"do\": \"create\", \"config\": {\"hira_dropout\": %s}}]}";

    assertThat(Departures.refused(golden(steps.formatted("-0.1")))).isNotNull();
    assertThat(Departures.refused(golden(steps.formatted("0.0")))).isNull();
  }

  private static Case golden(String json) {
    return new Case(Path.of("case"), json(json));
  }

  private static ObjectNode json(String text) {
    return Case.JSON.readTree(text).asObject();
  }
}
