package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.text.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class ContinuationTest {

  private static Tokenizer tokenizer = TinyTokenizer.make();

  @BeforeAll
  static void make() {
    tokenizer = TinyTokenizer.make();
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @Test
  void pieces_joined_are_the_text_and_no_emoji_is_cut_in_half() {
    int[] ids = tokenizer.encode("so 😀😂!", false);
    Continuation row = row(Sampling.greedy().withMaxNewTokens(ids.length));

    List<String> pieces = take(row, ids);

    assertThat(pieces).containsExactly("s", "o", " ", "", "", "", "😀", "", "", "", "😂", "!");
    assertThat(row.generation(3, 0))
        .isEqualTo(new Generation(ids, "so 😀😂!", FinishReason.LENGTH, 3, 0));
  }

  @Test
  void the_end_token_ends_the_row_and_is_not_in_the_text() {
    int[] ids = tokenizer.encode("ok", false);
    Continuation row = row(Sampling.greedy());

    take(row, ids);
    String last = row.take(TinyTokenizer.EOS);

    assertThat(last).isEmpty();
    assertThat(row.generation(1, 0))
        .isEqualTo(
            new Generation(
                new int[] {ids[0], ids[1], TinyTokenizer.EOS}, "ok", FinishReason.END, 1, 0));
  }

  @Test
  void a_stop_string_over_several_tokens_ends_the_row_and_no_part_of_it_is_told() {
    int[] ids = tokenizer.encode("yes\nUser:", false);
    Continuation row = row(Sampling.greedy().withStop("\nUser:"));

    List<String> pieces = take(row, ids);

    assertThat(String.join("", pieces)).isEqualTo("yes");
    assertThat(row.generation(1, 0))
        .isEqualTo(new Generation(ids, "yes", FinishReason.STOP_STRING, 1, 0));
  }

  @Test
  void the_end_of_a_row_tells_what_was_held_back_as_a_possible_stop_string() {
    int[] ids = tokenizer.encode("yes\nU", false);
    Continuation row = row(Sampling.greedy().withStop("\nUser:"));

    List<String> pieces = take(row, ids);
    String last = row.take(TinyTokenizer.EOS);

    assertThat(pieces).containsExactly("y", "e", "s", "", "");
    assertThat(last).isEqualTo("\nU");
  }

  @Test
  void a_character_that_is_unfinished_at_the_last_token_is_shown_as_such() {
    int[] ids = tokenizer.encode("a😀", false);
    Continuation row = row(Sampling.greedy().withMaxNewTokens(3));

    List<String> pieces = take(row, new int[] {ids[0], ids[1], ids[2]});

    assertThat(String.join("", pieces))
        .isEqualTo(tokenizer.decode(new int[] {ids[0], ids[1], ids[2]}, true));
  }

  private static Continuation row(Sampling sampling) {
    return new Continuation(
        0, new History(sampling, new int[0]), Set.of(TinyTokenizer.EOS), tokenizer.streamDecoder());
  }

  private static List<String> take(Continuation row, int[] ids) {
    var pieces = new ArrayList<String>();
    for (int id : ids) {
      pieces.add(row.take(id));
    }
    return pieces;
  }
}
