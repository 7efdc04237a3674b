package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class AddedTokensTest {

  static Stream<Path> folders() {
    return Stream.of(TestFolders.byteLevel(), TestFolders.sentencepiece());
  }

  @ParameterizedTest
  @MethodSource("folders")
  void a_new_token_has_the_next_id_and_is_read_as_one(Path folder) {
    try (Tokenizer before = Tokenizer.load(folder);
        Tokenizer after = before.withTokens(List.of("<tool>", "espalier"), false)) {
      int first = before.vocabularySize();

      assertThat(after.vocabularySize()).isEqualTo(first + 2);
      assertThat(after.id("<tool>")).hasValue(first);
      assertThat(after.id("espalier")).hasValue(first + 1);
      assertThat(after.encode("a <tool> b espalier", false)).contains(first, first + 1);
      assertThat(before.id("<tool>")).isEmpty();
    }
  }

  @Test
  void a_special_one_can_be_left_out_of_a_text_and_another_can_not() {
    try (Tokenizer plain = Tokenizer.load(TestFolders.byteLevel());
        Tokenizer special = plain.withTokens(List.of("<tool>"), true);
        Tokenizer ordinary = plain.withTokens(List.of("<tool>"), false)) {
      int[] ids = special.encode("a<tool>b", false);

      assertThat(special.decode(ids, true)).isEqualTo("ab");
      assertThat(special.decode(ids, false)).isEqualTo("a<tool>b");
      assertThat(ordinary.decode(ids, true)).isEqualTo("a<tool>b");
      assertThat(special.isSpecial(plain.vocabularySize())).isTrue();
    }
  }

  @Test
  void tokens_that_are_there_keep_their_ids() {
    try (Tokenizer before = Tokenizer.load(TestFolders.byteLevel());
        Tokenizer once = before.withTokens(List.of("<a>", "<b>", "<a>"), true);
        Tokenizer twice = once.withTokens(List.of("<b>", "<c>"), true)) {
      assertThat(once.vocabularySize()).isEqualTo(before.vocabularySize() + 2);
      assertThat(twice.id("<b>")).isEqualTo(once.id("<b>"));
      assertThat(twice.id("<c>")).hasValue(once.vocabularySize());
    }
  }

  @Test
  void what_is_saved_has_them(@TempDir Path folder) {
    try (Tokenizer before = Tokenizer.load(TestFolders.byteLevel());
        Tokenizer after = before.withTokens(List.of("<tool>"), true)) {
      after.save(folder);

      try (Tokenizer again = Tokenizer.load(folder)) {
        assertThat(again.encode("x<tool>", true)).isEqualTo(after.encode("x<tool>", true));
      }
    }
  }

  @Test
  void an_empty_token_is_refused() {
    try (Tokenizer tokenizer = Tokenizer.load(TestFolders.byteLevel())) {
      assertThatThrownBy(() -> tokenizer.withTokens(List.of("x", ""), false))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("a token to be added is empty; give the text that it stands for");
    }
  }
}
