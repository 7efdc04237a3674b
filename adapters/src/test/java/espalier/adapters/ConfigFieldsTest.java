package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class ConfigFieldsTest {

  private static final JsonMapper JSON = new JsonMapper();

  private static ConfigFields fields(String json) {
    return ConfigFields.of((ObjectNode) JSON.readTree(json));
  }

  @Test
  void a_missing_field_has_its_default() {
    ConfigFields in = fields("{}");

    assertThat(in.integer("r", 8)).isEqualTo(8);
    assertThat(in.number("alpha", 0.5)).isEqualTo(0.5);
    assertThat(in.flag("on", true)).isTrue();
    assertThat(in.text("bias", "none")).isEqualTo("none");
    assertThat(in.textsOrNull("names")).isNull();
    assertThat(in.targets().modules()).isEqualTo(new Modules.ByArchitecture());
  }

  @Test
  void a_value_of_the_wrong_kind_is_refused_by_its_name() {
    ConfigFields in = fields("{\"r\": \"eight\", \"on\": 1, \"a\": null, \"names\": \"q\"}");

    assertThatThrownBy(() -> in.integer("r", 8))
        .isInstanceOf(ConfigException.class)
        .hasMessage("r is \"eight\" but a whole number is expected");
    assertThatThrownBy(() -> in.flag("on", true))
        .hasMessage("on is 1 but true or false is expected");
    assertThatThrownBy(() -> in.integer("a", 8))
        .hasMessage("a is null but a whole number is expected");
    assertThatThrownBy(() -> in.textsOrNull("names"))
        .hasMessage("names is \"q\" but a list of texts is expected");
  }

  @Test
  void a_field_of_a_nested_object_is_named_with_its_owner() {
    ConfigFields in = fields("{\"eva_config\": {\"rho\": \"x\"}}");
    ConfigFields nested = Objects.requireNonNull(in.nested("eva_config"));

    assertThatThrownBy(() -> nested.number("rho", 2))
        .hasMessage("eva_config.rho is \"x\" but a number is expected");
  }

  @Test
  void a_whole_number_may_be_written_with_a_point() {
    assertThat(fields("{\"r\": 8.0}").integer("r", 1)).isEqualTo(8);
    assertThatThrownBy(() -> fields("{\"r\": 8.5}").integer("r", 1))
        .hasMessage("r is 8.5 but a whole number is expected");
  }

  @Test
  void one_or_many_remembers_which_it_was() {
    ConfigFields in = fields("{\"layers\": 3, \"pattern\": [\"h\"], \"none\": null}");

    assertThat(in.integerOrIntegers("layers")).isEqualTo(OneOrMany.one(3));
    assertThat(in.textOrTexts("pattern")).isEqualTo(OneOrMany.many(List.of("h")));
    assertThat(in.textOrTexts("none")).isNull();
    assertThat(
            ConfigWriter.empty()
                .put("layers", OneOrMany.one(3))
                .put("pattern", OneOrMany.many(List.of("h")))
                .json())
        .isEqualTo(JSON.readTree("{\"layers\": 3, \"pattern\": [\"h\"]}"));
  }

  @Test
  void target_modules_is_a_list_an_expression_a_word_or_nothing() {
    assertThat(fields("{\"target_modules\": [\"v\", \"q\", \"v\"]}").targets().modules())
        .isEqualTo(new Modules.Named(List.of("q", "v")));
    assertThat(fields("{\"target_modules\": \".*q\"}").targets().modules())
        .isEqualTo(new Modules.Matching(".*q"));
    assertThat(fields("{\"target_modules\": \"ALL-Linear\"}").targets().modules())
        .isEqualTo(new Modules.AllLinear());
    assertThat(fields("{\"target_modules\": []}").targets().modules())
        .isEqualTo(new Modules.Named(List.of()));
  }

  @Test
  void patterns_keep_the_order_of_the_file_when_they_are_written() {
    ConfigFields in = fields("{\"rank_pattern\": {\"z\": 1, \"a\": 2}}");

    PathMap<Integer> ranks = in.integersByPath("rank_pattern");

    assertThat(ranks.entries().keySet()).containsExactly("z", "a");
    assertThat(ConfigWriter.empty().put("rank_pattern", ranks).json().toString())
        .isEqualTo("{\"rank_pattern\":{\"z\":1,\"a\":2}}");
  }

  @Test
  void keys_are_written_sorted_and_whole_numbers_without_a_point_where_asked() {
    ConfigWriter out =
        ConfigWriter.empty().put("dropout", 0.0).putNumber("alpha", 16).putNumber("a", 0.5);

    assertThat(out.json().toString()).isEqualTo("{\"a\":0.5,\"alpha\":16,\"dropout\":0.0}");
  }

  @Test
  void fields_that_nobody_asked_for_are_unknown() {
    ConfigFields in = fields("{\"zeta\": 1, \"r\": 4, \"alef\": {}}");

    assertThat(in.integer("r", 8)).isEqualTo(4);

    assertThat(in.unknown().keySet()).containsExactly("alef", "zeta");
  }

  @Test
  void an_unknown_task_is_refused_with_those_that_are_known() {
    assertThatThrownBy(() -> fields("{\"task_type\": \"POETRY\"}").head())
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "task_type is POETRY but one of [SEQ_CLS, SEQ_2_SEQ_LM, CAUSAL_LM, TOKEN_CLS,"
                + " QUESTION_ANS, FEATURE_EXTRACTION] is expected");
  }

  @Test
  void the_python_class_is_written_only_where_no_task_is_named() {
    ConfigHead head =
        ConfigHead.empty().withAutoMapping(new AutoMapping("LlamaForCausalLM", "library"));

    ObjectNode without = ConfigWriter.empty().head("LORA", head).json();
    ObjectNode with =
        ConfigWriter.empty().head("LORA", head.withTaskType(TaskType.CAUSAL_LM)).json();

    assertThat(without.get("auto_mapping"))
        .isEqualTo(
            JSON.valueToTree(
                Map.of("base_model_class", "LlamaForCausalLM", "parent_library", "library")));
    assertThat(with.get("auto_mapping").isNull()).isTrue();
    assertThat(with.get("inference_mode").booleanValue()).isTrue();
  }
}
