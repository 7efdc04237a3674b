package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerTest {

  private final Tokenizer bytes = Tokenizer.load(TestFolders.byteLevel());
  private final Tokenizer pieces = Tokenizer.load(TestFolders.sentencepiece());

  @AfterEach
  void close() {
    bytes.close();
    pieces.close();
  }

  @Test
  void text_becomes_the_tokens_of_the_merges() {
    int[] ids = bytes.encode("hello world", false);

    assertThat(tokens(bytes, ids)).containsExactly("hello", "Ġwo", "rl", "d");
  }

  @Test
  void special_tokens_in_the_text_are_one_token() {
    int[] ids = bytes.encode("<|im_start|>user", false);

    assertThat(tokens(bytes, ids)).containsExactly("<|im_start|>", "user");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "hello",
        " two  spaces ",
        "日本語",
        "😀🤖 a😀",
        "é\u0301",
        "\u0000x",
        "tab\tline\n",
        "<|im_end|>"
      })
  void decoding_gives_the_text_back(String text) {
    assertThat(bytes.decode(bytes.encode(text, false), false)).isEqualTo(text);
  }

  @Test
  void what_tokenizer_json_says_of_cutting_and_padding_has_no_effect() {
    // it says to cut at 4 tokens and to pad to 16
    assertThat(bytes.encode("a b c d e f", false)).hasSize(11);
    assertThat(bytes.encode("a", false)).hasSize(1);
  }

  @Test
  void special_tokens_are_left_out_where_asked() {
    int[] ids = bytes.encode("<|im_start|>user<think>x<|im_end|>", false);

    assertThat(bytes.decode(ids, true)).isEqualTo("user<think>x");
    assertThat(bytes.decode(ids, false)).isEqualTo("<|im_start|>user<think>x<|im_end|>");
  }

  @Test
  void a_batch_is_encoded_like_its_texts() {
    List<String> texts = List.of("hello", "", "日本 hello", "x".repeat(1000));

    List<int[]> all = bytes.encodeAll(texts, true);

    assertThat(all).hasSize(4);
    for (int i = 0; i < texts.size(); i++) {
      assertThat(all.get(i)).isEqualTo(bytes.encode(texts.get(i), true));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"hello world", "a😀b 日本語 🤖🤖 user", "😀", "é e\u0301 ﬁ", "x\ny"})
  void offsets_count_the_units_of_the_java_string(String text) {
    Encoding encoding = bytes.encodeWithOffsets(text, false);

    assertThat(encoding.ids()).isEqualTo(bytes.encode(text, false));
    int covered = 0;
    for (int i = 0; i < encoding.length(); i++) {
      int start = encoding.starts()[i];
      int end = encoding.ends()[i];
      String token = bytes.decode(new int[] {encoding.ids()[i]}, false);
      if (token.indexOf('\uFFFD') < 0) {
        assertThat(text.substring(start, end)).isEqualTo(token);
      } else { // a piece of a character covers all of it
        assertThat(text.codePointCount(start, end)).isEqualTo(1);
      }
      assertThat(start).isLessThanOrEqualTo(covered);
      covered = Math.max(covered, end);
    }
    assertThat(covered).isEqualTo(text.length());
  }

  @Test
  void the_bytes_of_an_emoji_cover_the_emoji() {
    Encoding encoding = bytes.encodeWithOffsets("a😀b", false);

    assertThat(tokens(bytes, encoding.ids())).containsExactly("a", "ðŁ", "ĺ", "Ģ", "b");
    assertThat(encoding.starts()).containsExactly(0, 1, 1, 1, 3);
    assertThat(encoding.ends()).containsExactly(1, 3, 3, 3, 4);
  }

  @Test
  void offsets_hold_behind_a_normalizer_and_an_added_token() {
    Encoding encoding = pieces.encodeWithOffsets("the 😀 red", true);

    String text = "the 😀 red";
    assertThat(tokens(pieces, encoding.ids()))
        .containsExactly("<s>", "▁the", "▁", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁red");
    assertThat(encoding.starts()).containsExactly(0, 0, 3, 4, 4, 4, 4, 6);
    assertThat(encoding.ends()).containsExactly(0, 3, 4, 6, 6, 6, 6, text.length());
  }

  @Test
  void an_unpaired_surrogate_is_read_as_the_replacement_character() {
    int[] ids = bytes.encode("a\uD83Db\uDE00", false);

    assertThat(bytes.decode(ids, false)).isEqualTo("a\uFFFDb\uFFFD");
    assertThat(bytes.encodeWithOffsets("\uD83D", false).ends()).containsOnly(1);
  }

  @Test
  void the_bos_token_is_added_once() {
    try (Tokenizer plain =
        Tokenizer.of(
            json(), TokenizerSettings.defaults().withBosToken("<|im_start|>").withAddBos(true))) {

      assertThat(tokens(plain, plain.encode("he", true))).containsExactly("<|im_start|>", "he");
      assertThat(tokens(plain, plain.encode("he", false))).containsExactly("he");
      assertThat(plain.encodeAll(List.of("he"), true).get(0)).hasSize(2);
      assertThat(plain.encodeWithOffsets("he", true))
          .isEqualTo(new Encoding(plain.encode("he", true), new int[] {0, 0}, new int[] {0, 2}));
    }
    assertThat(tokens(pieces, pieces.encode("the", true))).containsExactly("<s>", "▁the");
  }

  @Test
  void ids_of_special_tokens_are_told() {
    assertThat(bytes.bosId()).isEmpty();
    assertThat(bytes.eosId()).hasValue(271);
    assertThat(bytes.padId()).hasValue(269);
    assertThat(bytes.unkId()).hasValue(269);
    assertThat(bytes.stopIds()).containsExactlyInAnyOrder(269, 271);
    assertThat(bytes.vocabularySize()).isEqualTo(273);
    assertThat(bytes.isSpecial(271)).isTrue();
    assertThat(bytes.isSpecial(272)).isFalse();
    assertThat(bytes.id("Ġwo")).hasValue(261);
    assertThat(bytes.id("nope")).isEmpty();
    assertThat(bytes.token(261)).isEqualTo("Ġwo");
  }

  @Test
  void an_id_without_token_is_refused_by_name_and_skipped_in_text() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> bytes.token(273))
        .withMessage("id 273 has no token; the vocabulary has ids from 0 to 272");
    int hello = bytes.id("hello").getAsInt();
    assertThat(bytes.decode(new int[] {hello, 5000, hello}, false)).isEqualTo("hellohello");
  }

  @Test
  void a_negative_id_is_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> bytes.decode(new int[] {1, -100}, false))
        .withMessage(
            "id -100 at position 1 is negative but token ids start at 0; take out labels such as"
                + " -100 before decoding");
  }

  @Test
  void what_is_no_tokenizer_is_refused() {
    var settings = TokenizerSettings.defaults();

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of("{", settings))
        .withMessageStartingWith("the tokenizer is not JSON");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of("{}", settings))
        .withMessageStartingWith("the tokenizer's JSON has no model.vocab");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of("{\"model\": {\"vocab\": {\"a\": 0}}}", settings))
        .withMessageStartingWith("the tokenizer's JSON was refused by the tokenizer library");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of("{\"model\": {\"vocab\": {\"a\": -1}}}", settings))
        .withMessageStartingWith("token a of the tokenizer's JSON has id -1");
  }

  @Test
  void a_bos_token_that_is_not_in_the_vocabulary_is_refused() {
    var settings = TokenizerSettings.defaults().withBosToken("<bos>").withAddBos(true);

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of(json(), settings))
        .withMessageStartingWith("bosToken <bos> is not in the vocabulary");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "normalizer | {'type': 'Sequence', 'normalizers': [{'type': 'Precompiled',"
            + " 'precompiled_charsmap': 'AAAA'}]} | its precompiled_charsmap is damaged",
        "normalizer | {'type': 'Precompiled', 'precompiled_charsmap': null} | its"
            + " precompiled_charsmap is damaged",
        "post_processor | {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<x>',"
            + " 'type_id': 0}}], 'pair': [], 'special_tokens': {}} | its template puts in <x>,"
            + " which is not among its special_tokens",
        "pre_tokenizer | {'type': 'FixedLength', 'length': 0} | its pieces have the length 0",
        "decoder | {'type': 'Strip', 'content': 'a', 'start': 0, 'stop': 2} | it strips the end of"
            + " tokens (stop is not 0)"
      })
  void what_would_end_the_process_is_refused(String part, String json, String fault) {
    String tokenizer =
        "{\"%s\": %s, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}"
            .formatted(part, json.replace('\'', '"'));

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Tokenizer.of(tokenizer, TokenizerSettings.defaults()))
        .withMessage(
            "the %s of the tokenizer's JSON cannot be used: %s; get the file again, or save it anew"
                    .formatted(part, fault)
                + " with transformers");
  }

  @Test
  void a_run_that_would_end_the_process_is_refused() {
    String spaces = "ab" + " ".repeat(12_000_000);

    assertThatIllegalArgumentException()
        .isThrownBy(() -> bytes.encode(spaces, false))
        .withMessageStartingWith(
            "the text has more than 1000000 characters of one kind (spaces, letters, digits or"
                + " others) in a row from position 2 on");
  }

  @Test
  void a_closed_tokenizer_says_so() {
    Tokenizer closed = Tokenizer.load(TestFolders.byteLevel());
    closed.close();
    closed.close();

    assertThatIllegalStateException()
        .isThrownBy(() -> closed.encode("a", false))
        .withMessage(
            "cannot encode the text: the tokenizer was closed; keep it open as long as it is used");
  }

  @Test
  void closing_waits_for_those_who_are_encoding() throws Exception {
    String text = "hello world ".repeat(200);
    int[] expected = bytes.encode(text, false);
    for (int round = 0; round < 8; round++) {
      Tokenizer shared = Tokenizer.load(TestFolders.byteLevel());
      try (ExecutorService threads = Executors.newFixedThreadPool(3)) {
        List<Future<?>> results = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
          results.add(
              threads.submit(
                  () -> {
                    try {
                      assertThat(shared.encode(text, false)).isEqualTo(expected);
                    } catch (IllegalStateException e) {
                      assertThat(e).hasMessageContaining("was closed");
                    }
                  }));
        }
        shared.close();
        for (Future<?> result : results) {
          result.get();
        }
      }
    }
  }

  @Test
  void the_chat_template_knows_the_special_tokens() {
    ChatTemplate template = pieces.chatTemplate().orElseThrow();

    String text = template.render(List.of(Message.user("Hi")), false, Map.of()).text();

    assertThat(text).isEqualTo("<s>user: Hi</s>");
    assertThat(
            pieces.chatTemplate("tool_use").orElseThrow().render(List.of(), false, Map.of()).text())
        .isEqualTo("<s>tools<unk>");
    assertThat(pieces.chatTemplate("rag")).isEmpty();
  }

  @Test
  void a_broken_chat_template_leaves_the_tokenizer_usable() {
    var settings = TokenizerSettings.defaults().withChatTemplate("{% if %}");
    try (Tokenizer tokenizer = Tokenizer.of(json(), settings)) {

      assertThat(tokenizer.encode("he", false)).hasSize(1);
      assertThatIllegalArgumentException()
          .isThrownBy(tokenizer::chatTemplate)
          .isInstanceOf(TemplateException.class);
    }
  }

  private static String json() {
    try {
      return Files.readString(TestFolders.byteLevel().resolve("tokenizer.json"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<String> tokens(Tokenizer tokenizer, int[] ids) {
    return Arrays.stream(ids).mapToObj(tokenizer::token).collect(Collectors.toList());
  }
}
