package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class ModelCardTest {

  @TempDir private Path folder;

  private static ModelCard card(String baseModel, String task) {
    return new ModelCard(
        "define",
        baseModel,
        "LORA",
        task,
        Map.of("Steps", "300"),
        Map.of("Espalier", "0.1.0"),
        List.of());
  }

  @Test
  void the_header_is_what_hubs_read() {
    assertThat(card("org/name", "text-generation").markdown())
        .startsWith(
            """
            ---
            base_model: "org/name"
            library_name: peft
            pipeline_tag: "text-generation"
            tags:
            - "base_model:adapter:org/name"
            - "lora"
            - espalier
            - transformers
            ---

            # define
            """);
  }

  @Test
  void the_use_fits_the_task_and_the_place_of_the_base() {
    assertThat(card("org/name", "text2text-generation").markdown())
        .contains("espalier chat --model hub:org/name --adapter .")
        .contains("AutoModelForSeq2SeqLM.from_pretrained(\"org/name\")");
    assertThat(card("../my models/base", "text-generation").markdown())
        .contains("espalier chat --model '../my models/base' --adapter .");
  }

  @Test
  void facts_and_versions_are_listed() {
    assertThat(card("org/name", "text-generation").markdown())
        .contains("| Steps | 300 |")
        .endsWith("### Framework versions\n\n- Espalier 0.1.0\n");
  }

  @Test
  void answers_stay_in_their_cells() {
    var card =
        new ModelCard(
            "a\nb",
            "x\"\n---\n",
            "LORA",
            "text-generation",
            Map.of(),
            Map.of(),
            List.of(new Sample("a|b\n*c*", "<img src=x>", null)));

    assertThat(card.markdown())
        .contains("| a\\|b<br>\\*c\\* | &lt;img src=x> | – |")
        .contains("base_model: \"x\\\"\\n---\\n\"")
        .contains("# a<br>b\n");
  }

  @Test
  void the_card_is_the_readme_of_the_folder() throws IOException {
    card("org/name", "text-generation").write(folder);

    assertThat(folder.resolve("README.md")).isNotEmptyFile();
  }

  @Test
  void a_card_without_a_base_is_refused() {
    assertThatThrownBy(() -> card(" ", "text-generation"))
        .hasMessage("base_model is blank, but a card names the model that the adapter belongs to");
  }
}
