package espalier.adapters.hirasb;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigException;
import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class HiraSbFormatTest {

  private static AdapterConfig read(String fields) {
    var json =
        (ObjectNode)
            new JsonMapper()
                .readTree("{'peft_type': 'HIRA_SB'%s}".formatted(fields).replace('\'', '"'));
    return AdapterCatalog.standard().read(json).config();
  }

  @Test
  void what_a_config_leaves_out_is_the_methods_default() {
    assertThat(read("")).isEqualTo(HiraSbConfig.defaults());
    HiraSbConfig config = HiraSbConfig.defaults();
    assertThat(config.r()).isEqualTo(32);
    assertThat(config.space()).isEqualTo(Space.HADAMARD);
    assertThat(config.scale()).isNull();
    assertThat(config.precondition()).isFalse();
    assertThat(config.dropout()).isZero();
    assertThat(config.start())
        .isEqualTo(new StartSettings(UpdateTarget.SIGN, 2, 16, 0, 0, BasisDtype.FLOAT32, 0));
  }

  @Test
  void every_field_is_read_and_written_back() {
    AdapterConfig config =
        read(
            ", 'r': 8, 'update_target': 'gradient', 'als_sweeps': 3, 'calibration_batches': 4,"
                + " 'precondition': true, 'match_step': 0.5, 'space': 'additive', 'scale': 1.5,"
                + " 'hirasb_dropout': 0.25, 'rank_pattern': {'q_proj': 4}, 'init_seed': 9,"
                + " 'basis_dtype': 'bfloat16', 'target_modules': ['q_proj']");

    assertThat(config)
        .isEqualTo(
            new HiraSbConfig(
                config.head(),
                Targets.named("q_proj"),
                8,
                Space.ADDITIVE,
                1.5,
                true,
                0.25,
                new espalier.adapters.PathMap<>(Map.of("q_proj", 4)),
                new StartSettings(UpdateTarget.GRADIENT, 3, 4, 0.5, 9, BasisDtype.BFLOAT16, 0)));
    AdapterCatalog catalog = AdapterCatalog.standard();
    AdapterConfig again = catalog.read(catalog.write(config)).config();
    assertThat(again.withHead(config.head())).isEqualTo(config);
  }

  @Test
  void the_file_has_the_fields_of_the_method_and_nothing_of_the_machine() {
    ObjectNode json =
        AdapterCatalog.standard()
            .write(HiraSbConfig.defaults().withStart(s -> s.withMemory(1 << 20)));

    assertThat(json.get("scale").stringValue()).isEqualTo("auto");
    assertThat(json.get("update_target").stringValue()).isEqualTo("sign");
    assertThat(json.has("init_memory")).isFalse();
    assertThat(json.has("basis_dtype")).isFalse();
  }

  @Test
  void the_memory_is_read_as_whole_bytes() {
    var config = (HiraSbConfig) read(", 'init_memory': 4000000000");

    assertThat(config.start().memory()).isEqualTo(4_000_000_000L);
    assertThatThrownBy(() -> read(", 'init_memory': 0.5"))
        .isInstanceOf(ConfigException.class)
        .hasMessage("init_memory is 0.5 but a whole number of bytes is expected");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'r': 0 | r is 0 but a rank is 1 or more; 32 is the method's default",
        "'als_sweeps': -1 | als_sweeps is -1 but must be 0 or more",
        "'calibration_batches': 0 | calibration_batches is 0 but must be 1 or more",
        "'match_step': -1 | match_step is -1.0 but must be finite and 0 or more; 0 starts at the"
            + " base",
        "'scale': 0 | scale is 0.0 but must be finite and above 0, or auto",
        "'scale': 'large' | scale is \"large\" but auto or a number is expected",
        "'hirasb_dropout': 1 | hirasb_dropout is 1.0 but must lie in [0, 1); 0 turns it off",
        "'rank_pattern': {'q': 0} | rank_pattern has 0 for q but a rank is 1 or more",
        "'update_target': 'up' | update_target is up but [sign, gradient] are known",
        "'space': 'outer' | space is outer but [hadamard, additive] are known",
        "'basis_dtype': 'int8' | basis_dtype is int8 but [float32, bfloat16] are known"
      },
      quoteCharacter = '~')
  void wrong_values_are_refused(String field, String message) {
    assertThatThrownBy(() -> read(", " + field))
        .isInstanceOf(ConfigException.class)
        .hasMessage(message);
  }

  @Test
  void the_preconditioner_goes_up_to_rank_64() {
    assertThat(read(", 'precondition': true, 'r': 64")).isNotNull();
    assertThatThrownBy(() -> read(", 'precondition': true, 'r': 65"))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "r is 65 but precondition needs a matrix of r⁴ numbers a layer and goes up to rank 64;"
                + " turn it off or lower the rank");
    assertThatThrownBy(() -> read(", 'precondition': true, 'rank_pattern': {'q': 65}"))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("rank_pattern of q is 65");
  }
}
