package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Words of {@code bias}. */
class BiasTrainingTest extends OnDecoder {

  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();

  BiasTrainingTest() {
    super(1, 3);
  }

  private static AdapterConfig read(String method, String word) {
    var fields =
        Map.of("peft_type", method, "bias", word, "target_modules", new String[] {"q_proj"});
    return CATALOG.read((ObjectNode) JsonMapper.shared().valueToTree(fields)).config();
  }

  @ParameterizedTest
  @CsvSource({
    "LORA, lora_only",
    "GRALORA, gralora_only",
    "MISS, MiSS_only",
    "OFT, oft_only",
  })
  void another_methods_word_means_the_adapted_layers_and_becomes_the_methods_own(
      String method, String own) {
    AdapterConfig foreign = read(method, "adalora_only");

    assertThat(CATALOG.write(foreign).get("bias").asString()).isEqualTo(own);
    assertThat(foreign).isEqualTo(read(method, own));
  }

  @ParameterizedTest
  @ValueSource(strings = {"oft_only", "boft_only", "_only"})
  void biases_of_the_adapted_layers_alone_train_under_it(String word) {
    adapters.attach("one", read("LORA", word), 1);

    assertThat(adapters.parameters().keySet())
        .contains("base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias")
        .noneMatch(key -> key.contains("k_proj"));
  }

  @Test
  void a_word_that_does_not_end_so_is_refused() {
    assertThatThrownBy(() -> read("LORA", "only_lora"))
        .isInstanceOf(ConfigException.class)
        .hasMessage("bias is only_lora but none, all and lora_only are known");
    assertThat(((LoraConfig) read("LORA", "lora_only")).bias()).isEqualTo(BiasTraining.ADAPTED);
  }
}
