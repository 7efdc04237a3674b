package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StreamDecoderTest {

  private final Tokenizer bytes = Tokenizer.load(TestFolders.byteLevel());
  private final Tokenizer pieces = Tokenizer.load(TestFolders.sentencepiece());

  @AfterEach
  void close() {
    bytes.close();
    pieces.close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "hello world",
        "the red  red",
        "a😀b🤖🤖",
        "日本語 text",
        "  spaces  ",
        "👨‍👩‍👧 family",
        "é\u0301\n\n",
        "replacement \uFFFD here",
        ""
      })
  void the_pieces_make_the_text(String text) {
    for (Tokenizer tokenizer : List.of(bytes, pieces)) {
      int[] ids = tokenizer.encode(text, false);

      List<String> parts = stream(tokenizer.streamDecoder(), ids);

      assertThat(String.join("", parts)).isEqualTo(tokenizer.decode(ids, true));
    }
  }

  @Test
  void a_character_comes_whole_or_not_at_all() {
    int[] ids = bytes.encode("a😀b", false);

    List<String> parts = stream(bytes.streamDecoder(), ids);

    assertThat(parts).containsExactly("a", "", "", "😀", "b", "");
  }

  @Test
  void a_character_in_byte_pieces_comes_whole_or_not_at_all() {
    int[] ids = pieces.encode("the 😀 red", false);

    List<String> parts = stream(pieces.streamDecoder(), ids);

    assertThat(parts).containsExactly("the", " ", "", "", "", "😀", " red", "");
  }

  @Test
  void special_tokens_are_left_out_and_spaces_after_them_kept() {
    int[] ids = {
      pieces.id("▁the").getAsInt(), pieces.id("</s>").getAsInt(), pieces.id("▁red").getAsInt()
    };

    List<String> parts = stream(pieces.streamDecoder(), ids);

    assertThat(parts).containsExactly("the", "", " red", "");
  }

  @Test
  void with_its_context_the_first_word_keeps_its_space() {
    int[] prompt = pieces.encode("the", true);
    int red = pieces.id("▁red").getAsInt();

    assertThat(pieces.streamDecoder(prompt).push(red)).isEqualTo(" red");
    assertThat(pieces.streamDecoder().push(red)).isEqualTo("red");
  }

  @Test
  void an_unfinished_character_is_told_at_the_end() {
    StreamDecoder decoder = bytes.streamDecoder();
    int[] ids = bytes.encode("😀", false);

    assertThat(decoder.push(ids[0])).isEmpty();
    assertThat(decoder.finish()).isEqualTo("\uFFFD");
    assertThat(decoder.finish()).isEmpty();
  }

  @Test
  void bytes_that_are_no_text_do_not_hold_back_what_follows() {
    int broken = bytes.encode("😀", false)[1]; // a byte that starts nothing
    StreamDecoder decoder = bytes.streamDecoder();
    StringBuilder text = new StringBuilder();

    for (int i = 0; i < 1000; i++) {
      text.append(decoder.push(broken));
    }
    assertThat(text).hasSizeGreaterThan(980);
    for (int id : bytes.encode("😀 hello", false)) {
      text.append(decoder.push(id));
    }

    assertThat(text.append(decoder.finish()).toString())
        .isEqualTo("\uFFFD".repeat(1000) + "😀 hello");
  }

  @Test
  void a_long_generation_is_decoded_like_its_whole() {
    String text = "the red 日本 fox 😀 jumps, and the ".repeat(300);
    int[] ids = pieces.encode(text, false);

    assertThat(String.join("", stream(pieces.streamDecoder(), ids))).isEqualTo(text);
  }

  private static List<String> stream(StreamDecoder decoder, int[] ids) {
    List<String> parts = new ArrayList<>();
    for (int id : ids) {
      parts.add(decoder.push(id));
    }
    parts.add(decoder.finish());
    return parts;
  }
}
