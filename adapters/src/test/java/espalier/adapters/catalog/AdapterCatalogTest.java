package espalier.adapters.catalog;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class AdapterCatalogTest {

  private static final JsonMapper JSON = new JsonMapper();
  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();

  private static ObjectNode json(String text) {
    return (ObjectNode) JSON.readTree(text);
  }

  /** What a config of this method can not do without. */
  private static ObjectNode least(AdapterFormat<?> format) {
    ObjectNode fields = JSON.createObjectNode().put("peft_type", format.peftType());
    return format.peftType().equals("ADALORA") ? fields.put("total_step", 9) : fields;
  }

  static java.util.Collection<AdapterFormat<?>> formats() {
    return CATALOG.formats();
  }

  @ParameterizedTest
  @ValueSource(strings = {"PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "CPT"})
  void methods_that_train_prompts_are_refused_as_such(String type) {
    assertThatThrownBy(() -> CATALOG.read(json("{\"peft_type\": \"%s\"}".formatted(type))))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith(
            "peft_type is " + type + ", which trains a prompt and not a layer; there are");
  }

  @ParameterizedTest
  @MethodSource("formats")
  void a_config_that_says_nothing_is_written_and_read_as_the_same(AdapterFormat<?> format) {
    var config = CATALOG.read(least(format)).config();

    ObjectNode written = CATALOG.write(config);

    assertThat(CATALOG.read(written).warnings()).isEmpty();
    assertThat(CATALOG.write(CATALOG.read(written).config())).isEqualTo(written);
    assertThat(config).isInstanceOf(format.configType());
  }

  @ParameterizedTest
  @ValueSource(strings = {"HIRA", "GRALORA", "SHIRA"})
  void tying_is_told_to_have_no_effect_where_a_method_does_not_tie(String type) {
    var read =
        CATALOG.read(
            json("{\"peft_type\": \"%s\", \"ensure_weight_tying\": true}".formatted(type)));

    assertThat(read.warnings())
        .containsExactly(
            "ensure_weight_tying is not implemented for %s and has no effect; only LORA ties what it trains"
                .formatted(type));
    assertThat(CATALOG.write(read.config()).get("ensure_weight_tying").asBoolean()).isTrue();
  }

  @ParameterizedTest
  @MethodSource("formats")
  void unknown_fields_are_told_once_and_written_back(AdapterFormat<?> format) {
    ObjectNode file = least(format).setAll(json("{\"zeta\": [1, {\"a\": null}], \"alef\": true}"));

    AdapterCatalog.Read read = CATALOG.read(file);

    assertThat(read.warnings())
        .containsExactly(
            "the fields [alef, zeta] are not known and are left as they are; a newer version may"
                + " have written them");
    ObjectNode written = CATALOG.write(read.config());
    assertThat(written.get("zeta")).isEqualTo(file.get("zeta"));
    assertThat(written.get("alef")).isEqualTo(file.get("alef"));
    assertThat(written.propertyStream().map(e -> e.getKey())).isSorted();
  }

  @Test
  void an_unknown_method_is_refused_with_those_that_are_known_and_the_nearest() {
    assertThatThrownBy(() -> CATALOG.read(json("{\"peft_type\": \"VERA\"}")))
        .isInstanceOf(ConfigException.class)
        .hasMessageMatching(
            "peft_type is VERA but the catalog knows .*HIRA.*LORA.*; nearest is HIRA");
  }

  @Test
  void a_file_without_a_method_is_refused() {
    assertThatThrownBy(() -> CATALOG.read(json("{\"r\": 8}")))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("peft_type is null but a config names its method there");
  }

  @Test
  void a_method_of_the_users_own_stands_beside_ours() {
    var own =
        new AdapterFormat<LoraConfig>() {
          @Override
          public String peftType() {
            return "OWN";
          }

          @Override
          public Class<LoraConfig> configType() {
            return LoraConfig.class;
          }

          @Override
          public LoraConfig read(espalier.adapters.ConfigFields in) {
            return new LoraFormat().read(in);
          }

          @Override
          public void write(LoraConfig config, espalier.adapters.ConfigWriter out) {
            new LoraFormat().write(config, out);
          }
        };

    AdapterCatalog more = CATALOG.with(own);

    assertThat(more.format("OWN")).isSameAs(own);
    assertThat(more.knows("LORA")).isTrue();
    assertThat(CATALOG.knows("OWN")).isFalse();
  }
}
