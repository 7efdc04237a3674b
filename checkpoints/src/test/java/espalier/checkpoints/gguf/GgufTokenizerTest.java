package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import espalier.checkpoints.CheckpointException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.AbstractStringAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The {@code tokenizer.json} that comes out is loaded by the library that defines the format. */
class GgufTokenizerTest {

  @TempDir Path folder;

  @Test
  void byte_level_words_are_merged_and_special_tokens_stay_whole() {
    var files = read(TinyTokenizers.byteLevel("gpt-2"));

    assertThat(ids(files, "ab ab<|end|>12<think>ä")).containsExactly(8, 9, 0, 7, 1, 11, 12);
    assertThat(decoded(files, 8, 9, 0, 7, 1, 11, 12)).isEqualTo("ab ab<|end|>12<think>ä");
  }

  @Test
  void smollm_cuts_digits_one_by_one() {
    assertThat(ids(read(TinyTokenizers.byteLevel("smollm")), "ab12")).containsExactly(8, 5, 6);
    assertThat(ids(read(TinyTokenizers.byteLevel("qwen2")), "ab12")).containsExactly(8, 5, 6);
    assertThat(ids(read(TinyTokenizers.byteLevel("llama-bpe")), "ab12")).containsExactly(8, 7);
  }

  @Test
  void llama_3_takes_a_word_that_is_a_token_without_merging() {
    assertThat(ids(read(TinyTokenizers.byteLevel("llama-bpe")), "abab")).containsExactly(10);
    assertThat(ids(read(TinyTokenizers.byteLevel("dbrx")), "abab")).containsExactly(8, 8);
  }

  @Test
  void qwen_2_brings_a_text_to_form_c_first() {
    String decomposed = "a\u0308";

    assertThat(ids(read(TinyTokenizers.byteLevel("qwen2")), decomposed)).containsExactly(11, 12);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "default",
        "falcon",
        "deepseek-coder",
        "deepseek-v3",
        "tekken",
        "gpt-4o",
        "qwen35",
        "command-r",
        "starcoder",
        "stablelm2"
      })
  void every_kind_of_cut_is_one_that_the_library_can_make(String pre) {
    var files = read(TinyTokenizers.byteLevel(pre));

    assertThat(ids(files, "ab ab")).containsExactly(8, 9);
  }

  @Test
  void bos_and_eos_are_put_where_the_file_says() {
    var both =
        read(
            TinyTokenizers.byteLevel("gpt-2")
                .key("tokenizer.ggml.add_bos_token", true)
                .key("tokenizer.ggml.add_eos_token", true));
    var unsaid =
        read(TinyTokenizers.byteLevel("llama-bpe").without("tokenizer.ggml.add_bos_token"));

    assertThat(idsWithSpecial(both, "a")).containsExactly(0, 2, 0);
    assertThat(ids(both, "a")).containsExactly(2);
    assertThat(idsWithSpecial(unsaid, "a")).containsExactly(0, 2);
    assertThat(unsaid.tokenizerConfig()).containsEntry("add_bos_token", true);
  }

  @Test
  void sentence_pieces_are_merged_by_score_and_strange_letters_become_bytes() {
    var files = read(TinyTokenizers.sentencePiece());

    assertThat(idsWithSpecial(files, "hello")).containsExactly(1, 12);
    // h e l o alone, as no merge makes hel; ä is C3 A4
    assertThat(ids(files, "helo")).containsExactly(3, 8, 6, 7);
    assertThat(ids(files, "ä")).containsExactly(3, 14 + 0xC3, 14 + 0xA4);
    assertThat(ids(files, "hello<|user|>hello</s>")).containsExactly(12, 13, 12, 2);
    assertThat(decoded(files, 12, 3, 14 + 0xC3, 14 + 0xA4)).isEqualTo("hello ä");
  }

  @Test
  void sentence_pieces_have_the_usual_special_tokens_where_the_file_names_none() {
    assertThat(read(TinyTokenizers.sentencePiece()).tokenizerConfig())
        .containsEntry("bos_token", "<s>")
        .containsEntry("eos_token", "</s>")
        .containsEntry("unk_token", "<unk>")
        .containsEntry("add_bos_token", true)
        .containsEntry("model_max_length", 2048L)
        .doesNotContainKeys("pad_token", "chat_template");
  }

  @Test
  void a_file_can_ask_for_no_space_before_the_text() {
    var files = read(TinyTokenizers.sentencePiece().key("tokenizer.ggml.add_space_prefix", false));

    assertThat(ids(files, "hello")).containsExactly(11);
    assertThat(ids(files, " hello")).containsExactly(12);
    assertThat(decoded(files, 12)).isEqualTo(" hello");
  }

  @Test
  void gemmas_runs_of_spaces_are_spelled_and_merged_in_the_order_of_their_ids() {
    var files = read(TinyTokenizers.gemma());

    assertThat(ids(files, "  hi")).containsExactly(3, 10);
    assertThat(ids(files, " hi")).containsExactly(9, 8);
    assertThat(ids(files, "hi\n\nhi")).containsExactly(10, 4, 10);
    assertThat(decoded(files, 3, 10, 4)).isEqualTo("  hi\n\n");
  }

  @Test
  void special_tokens_and_the_template_are_in_the_config() {
    var config =
        read(TinyTokenizers.byteLevel("gpt-2")
                .key("tokenizer.ggml.padding_token_id", 13)
                .key("tokenizer.ggml.unknown_token_id", 1)
                .key("tokenizer.chat_template", "{{ messages }}"))
            .tokenizerConfig();

    assertThat(config)
        .containsEntry("bos_token", "<|end|>")
        .containsEntry("eos_token", "<|end|>")
        .containsEntry("pad_token", "[PAD13]")
        .containsEntry("unk_token", "<think>")
        .containsEntry("add_bos_token", false)
        .containsEntry("add_eos_token", false)
        .containsEntry("chat_template", "{{ messages }}");
  }

  @Test
  void several_templates_are_a_list_as_hugging_face_has_it() {
    var config =
        read(TinyTokenizers.byteLevel("gpt-2")
                .key("tokenizer.chat_template", "one")
                .key("tokenizer.chat_templates", List.of("tool_use"))
                .key("tokenizer.chat_template.tool_use", "two"))
            .tokenizerConfig();

    assertThat(config)
        .containsEntry(
            "chat_template",
            List.of(
                Map.of("name", "default", "template", "one"),
                Map.of("name", "tool_use", "template", "two")));
  }

  @Test
  void a_tokenizer_json_that_the_file_carries_is_given_back() {
    var file = TinyTokenizers.byteLevel("some-new-name");

    var files = read(file.key("tokenizer.huggingface.json", "{\"version\": \"1.0\"}"));

    assertThat(files.tokenizerJson()).isEqualTo("{\"version\": \"1.0\"}");
    assertThat(files.tokenizerConfig()).containsEntry("eos_token", "<|end|>");
    refused(file.key("tokenizer.huggingface.json", "{"))
        .contains("tokenizer.huggingface.json is not JSON: ");
  }

  @Test
  void an_unknown_pre_tokenizer_is_refused_with_those_that_are_known() {
    refused(TinyTokenizers.byteLevel("quux"))
        .contains("tokenizer.ggml.pre is quux, but known are a.x-4.0, chatglm-bpe, codeshell,")
        .contains("qwen2, qwen35, refact, smaug-bpe, smollm,")
        .endsWith("; use the model's original tokenizer.json");
  }

  @Test
  void without_a_pre_tokenizer_only_gpt2_is_read() {
    var file = TinyTokenizers.byteLevel("gpt-2").without("tokenizer.ggml.pre");

    refused(file).contains("tokenizer.ggml.pre is missing, and without it words would be cut");
    assertThat(ids(read(file.key("general.architecture", "gpt2")), "ab12")).containsExactly(8, 7);
  }

  @Test
  void parts_that_do_not_fit_together_are_refused_by_key() {
    refused(TinyTokenizers.byteLevel("gpt-2").key("tokenizer.ggml.model", "bert"))
        .endsWith(
            "tokenizer.ggml.model is bert, but gpt2 and llama are read; use the model's original"
                + " tokenizer.json");
    refused(TinyTokenizers.byteLevel("gpt-2").key("tokenizer.ggml.merges", List.of("a x")))
        .contains("tokenizer.ggml.merges holds \"a x\", but the vocabulary has no token \"x\"");
    refused(TinyTokenizers.byteLevel("gpt-2").key("tokenizer.ggml.merges", List.of("ab")))
        .contains("tokenizer.ggml.merges holds \"ab\", which is not two tokens");
    refused(TinyTokenizers.byteLevel("gpt-2").key("tokenizer.ggml.tokens", List.of("a", "a")))
        .contains("tokenizer.ggml.token_type has 14 entries for 2 tokens");
    refused(TinyTokenizers.byteLevel("gpt-2").key("tokenizer.ggml.bos_token_id", 14))
        .contains("tokenizer.ggml.bos_token_id is 14, but the vocabulary has 14 tokens");
    refused(TinyTokenizers.sentencePiece().key("tokenizer.ggml.scores", List.of(1f)))
        .contains("tokenizer.ggml.scores has 1 entries for 270 tokens");
    refused(
            TinyTokenizers.byteLevel("gpt-2")
                .without("tokenizer.ggml.bos_token_id")
                .key("tokenizer.ggml.add_bos_token", true))
        .contains("tokenizer.ggml.add_bos_token is true, but no bos_token_id is given");
  }

  @Test
  void a_text_that_two_tokens_have_is_refused() {
    refused(
            TinyTokenizers.byteLevel("gpt-2")
                .without("tokenizer.ggml.token_type")
                .key("tokenizer.ggml.tokens", List.of("a", "b", "a")))
        .contains("tokenizer.ggml.tokens has \"a\" twice, as token 0 and 2");
  }

  private TokenizerFiles read(TinyGguf tiny) {
    try (var file = GgufFile.open(tiny.write(folder))) {
      return GgufTokenizer.read(file);
    }
  }

  private AbstractStringAssert<?> refused(TinyGguf file) {
    return assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> read(file))
        .extracting(CheckpointException::getMessage)
        .asString();
  }

  private static long[] ids(TokenizerFiles files, String text) {
    try (HuggingFaceTokenizer tokenizer = tokenizer(files)) {
      return tokenizer.encode(text, false, false).getIds();
    }
  }

  private static long[] idsWithSpecial(TokenizerFiles files, String text) {
    try (HuggingFaceTokenizer tokenizer = tokenizer(files)) {
      return tokenizer.encode(text, true, false).getIds();
    }
  }

  private static String decoded(TokenizerFiles files, long... ids) {
    try (HuggingFaceTokenizer tokenizer = tokenizer(files)) {
      return tokenizer.decode(ids, false);
    }
  }

  private static HuggingFaceTokenizer tokenizer(TokenizerFiles files) {
    byte[] json = files.tokenizerJson().getBytes(StandardCharsets.UTF_8);
    try {
      return HuggingFaceTokenizer.newInstance(
          new ByteArrayInputStream(json), Map.of("truncation", "false", "padding", "false"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
