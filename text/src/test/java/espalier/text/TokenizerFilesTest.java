package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class TokenizerFilesTest {

  @TempDir Path folder;

  @Test
  void settings_are_read_from_the_files_beside_the_tokenizer() {
    try (Tokenizer tokenizer = Tokenizer.load(TestFolders.sentencepiece())) {
      TokenizerSettings settings = tokenizer.settings();

      assertThat(settings.bosToken()).isEqualTo("<s>");
      assertThat(settings.eosToken()).isEqualTo("</s>"); // not what special_tokens_map.json says
      assertThat(settings.unkToken()).isEqualTo("<unk>"); // which only that file says
      assertThat(settings.padToken()).isNull();
      assertThat(settings.addBos()).isTrue();
      assertThat(settings.modelMaxLength()).isEqualTo(Integer.MAX_VALUE);
      assertThat(settings.stopIds()).containsExactly(2);
      assertThat(settings.namedTemplates()).containsOnlyKeys("tool_use");
    }
  }

  @Test
  void a_template_file_wins_over_the_config() throws IOException {
    copy(TestFolders.byteLevel());
    Files.writeString(folder.resolve("chat_template.jinja"), "from the file");
    Files.createDirectory(folder.resolve("additional_chat_templates"));
    Files.writeString(folder.resolve("additional_chat_templates/rag.jinja"), "rag");

    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.settings().chatTemplate()).isEqualTo("from the file");
      assertThat(tokenizer.settings().namedTemplates()).isEqualTo(Map.of("rag", "rag"));
    }
  }

  @Test
  void a_template_in_chat_template_json_is_read() throws IOException {
    copy(TestFolders.byteLevel());
    Files.writeString(folder.resolve("chat_template.json"), "{\"chat_template\": \"older\"}");

    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.settings().chatTemplate()).isEqualTo("older");
    }
  }

  @Test
  void a_tokenizer_without_other_files_is_read() throws IOException {
    Files.copy(TestFolders.byteLevel().resolve("tokenizer.json"), folder.resolve("tokenizer.json"));

    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.settings()).isEqualTo(TokenizerSettings.defaults());
      assertThat(tokenizer.chatTemplate()).isEmpty();
      assertThat(tokenizer.stopIds()).isEmpty();
    }
  }

  @Test
  void a_saved_tokenizer_is_read_back_the_same() {
    for (Path original : List.of(TestFolders.byteLevel(), TestFolders.sentencepiece())) {
      Path saved = folder.resolve(String.valueOf(original.getFileName()));
      try (Tokenizer tokenizer = Tokenizer.load(original)) {
        tokenizer.save(saved);

        try (Tokenizer again = Tokenizer.load(saved)) {
          assertThat(again.settings()).isEqualTo(tokenizer.settings().withStopIds(Set.of()));
          assertThat(again.encode("the red 😀", true))
              .isEqualTo(tokenizer.encode("the red 😀", true));
        }
      }
    }
  }

  @Test
  void a_saved_folder_has_what_transformers_reads() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.load(TestFolders.byteLevel())) {
      tokenizer.save(folder);
    }

    JsonNode config =
        JsonMapper.shared().readTree(Files.readString(folder.resolve("tokenizer_config.json")));
    assertThat(config.path("tokenizer_class").asString()).isEqualTo("GPT2Tokenizer");
    assertThat(config.path("eos_token").asString()).isEqualTo("<|im_end|>");
    assertThat(config.path("model_max_length").intValue()).isEqualTo(8192);
    assertThat(config.has("chat_template")).isFalse();
    assertThat(folder.resolve("chat_template.jinja")).content().startsWith("{% for m in messages");
    assertThat(folder.resolve("tokenizer.json"))
        .hasSameTextualContentAs(TestFolders.byteLevel().resolve("tokenizer.json"));
    try (var files = Files.list(folder)) {
      assertThat(files).hasSize(3); // and nothing unfinished
    }
  }

  @Test
  void a_tokenizer_of_unknown_origin_gets_the_class_that_reads_any() throws IOException {
    String json = Files.readString(TestFolders.byteLevel().resolve("tokenizer.json"));
    try (Tokenizer tokenizer = Tokenizer.of(json, TokenizerSettings.defaults())) {
      tokenizer.save(folder);
    }

    JsonNode config =
        JsonMapper.shared().readTree(Files.readString(folder.resolve("tokenizer_config.json")));
    assertThat(config.path("tokenizer_class").asString()).isEqualTo("PreTrainedTokenizerFast");
    assertThat(config.path("model_max_length").toString())
        .isEqualTo("1000000000000000019884624838656");
  }

  @Test
  void a_folder_without_tokenizer_is_refused_by_its_name() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.load(folder))
        .withMessage(
            folder.resolve("tokenizer.json")
                + " is not there but a tokenizer is read from it; name a folder that has a"
                + " tokenizer.json, such as a checkpoint that transformers saved");
  }

  @Test
  void a_broken_file_is_refused_by_its_name() throws IOException {
    copy(TestFolders.byteLevel());
    Files.writeString(folder.resolve("tokenizer_config.json"), "{oops");

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.load(folder))
        .withMessageStartingWith(folder.resolve("tokenizer_config.json") + " is not JSON");
  }

  @Test
  void a_template_name_that_leads_out_of_the_folder_is_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                new TokenizerSettings(
                    null, null, null, null, null, false, 1, Set.of(), Map.of("../x", ""), Map.of()))
        .withMessage(
            "the chat template is named ../x but a name has letters, digits, _ and - only, as it"
                + " becomes a file's");
  }

  private void copy(Path from) throws IOException {
    for (String name : List.of("tokenizer.json", "tokenizer_config.json")) {
      Files.copy(from.resolve(name), folder.resolve(name));
    }
  }

  @Test
  void the_content_of_a_config_says_the_settings_without_a_folder() {
    TokenizerSettings settings =
        TokenizerSettings.of(
            Map.of(
                "bos_token",
                "<s>",
                "eos_token",
                Map.of("content", "</s>", "lstrip", false),
                "add_bos_token",
                true,
                "chat_template",
                List.of(
                    Map.of("name", "default", "template", "plain"),
                    Map.of("name", "rag", "template", "with sources")),
                "model_max_length",
                2048,
                "padding_side",
                "left"));

    assertThat(settings.bosToken()).isEqualTo("<s>");
    assertThat(settings.eosToken()).isEqualTo("</s>");
    assertThat(settings.addBos()).isTrue();
    assertThat(settings.chatTemplate()).isEqualTo("plain");
    assertThat(settings.namedTemplates()).isEqualTo(Map.of("rag", "with sources"));
    assertThat(settings.modelMaxLength()).isEqualTo(2048);
    assertThat(settings.other()).isEqualTo(Map.of("padding_side", "left"));
  }
}
