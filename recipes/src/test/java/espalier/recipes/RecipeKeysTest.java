package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.checkpoints.AdapterSource;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.node.ObjectNode;

/** Keys of a recipe that are not known are errors, however deep they lie. */
class RecipeKeysTest {

  private static final String TEXT =
      """
      model: nowhere
      adapter: {peft_type: LORA, r: 4}
      data: {train: rows.jsonl}
      output: runs/test
      """;

  private static Recipe recipe(String... more) {
    return RecipeFile.parse(TEXT, List.of(more));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{peft_type: LORA, lora_alpa: 8}|adapter.lora_alpa|lora_alpha",
        "{peft_type: SHIRA, mask_options: {frequenzy:"
            + " 1}}|adapter.mask_options.frequenzy|mask_options.frequency",
        "{peft_type: LORA, init_lora_weights: loftq, loftq_config: {loftq_bit:"
            + " 4}}|adapter.loftq_config.loftq_bit|loftq_config.loftq_bits",
        "{peft_type: LORA, init_lora_weights: eva, eva_config: {roh:"
            + " 1.0}}|adapter.eva_config.roh|eva_config.rho"
      })
  void a_misspelt_key_of_the_adapter_names_the_nearest_one(
      String adapter, String key, String nearest) {
    ObjectNode section = recipe("adapter=" + adapter).adapter();

    assertThatThrownBy(() -> RecipeAdapter.read(section))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining(key + " is not a field of ")
        .hasMessageContaining("nearest is " + nearest);
    // as an adapter's own file it is read, and the key is told
    assertThat(AdapterCatalog.standard().read(section).warnings())
        .anyMatch(warning -> warning.contains("not known"));
  }

  @Test
  void an_adapter_that_is_trained_on_has_no_settings_beside_its_folder() {
    assertThatThrownBy(() -> recipe("adapter={from: first, r: 64, typo: 1}"))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining("adapter has from and r, typo but the settings are those of the");
    assertThatThrownBy(() -> recipe("adapter={from: 3}"))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining("adapter.from is 3 but the folder of an adapter is expected");
    assertThat(recipe("adapter={from: first}").from())
        .isEqualTo(new AdapterSource.Folder(Path.of("first")));
  }

  @Test
  void patterns_keep_the_order_of_the_recipe_as_the_first_that_matches_counts() {
    Recipe read = recipe("adapter.rank_pattern={v_proj: 2, '.*_proj': 3, a: 4}");
    Recipe again = RecipeFile.parse(read.resolved(), List.of());

    for (Recipe each : List.of(read, again)) {
      var lora = (LoraConfig) AdapterCatalog.standard().read(each.adapter()).config();
      assertThat(List.copyOf(lora.rankPattern().entries().keySet()))
          .containsExactly("v_proj", ".*_proj", "a");
      assertThat(lora.rankAt("layers.0.v_proj")).isEqualTo(2);
    }
  }

  @Test
  void schedules_and_formats_are_those_of_the_schema() {
    assertThatThrownBy(() -> recipe("training.schedule=cosin", "data.format=chat"))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining("training.schedule is \"cosin\" but")
        .hasMessageContaining("cosine-with-min")
        .hasMessageContaining("data.format is \"chat\" but")
        .hasMessageContaining("prompt-completion");
    assertThat(recipe("data.format=prompt_completion").data().format())
        .isEqualTo("prompt-completion");
    assertThat(recipe("training.schedule=cosine_with_min").training().courseOfRate()).isNotNull();
    assertThat(RecipeSchema.json().at("/properties/training/properties/schedule/enum").values())
        .hasSize(8);
  }

  @Test
  void a_length_that_nobody_gave_is_found_when_the_model_is_there() {
    assertThat(recipe("adapter={peft_type: LORA}").data().maxLength()).isZero();
    assertThat(recipe("data.max_length=64").data().maxLength()).isEqualTo(64);
    assertThatThrownBy(() -> recipe("data.max_length=-1"))
        .isInstanceOf(RecipeException.class)
        .hasMessage("data.max_length is -1 but must be 1 or more; leave it out for the usual 1024");
  }
}
