package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.text.Example;
import espalier.text.ExampleEncoder;
import espalier.text.Message;
import espalier.text.Tokenizer;
import espalier.text.TokenizerSettings;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class ExamplesTest {

  /** A row of {@code length} tokens, of which those from {@code from} on are learned. */
  private static Row row(int number, int length, int from) {
    int[] ids = IntStream.range(0, length).toArray();
    int[] labels = IntStream.range(0, length).map(i -> i < from ? Example.IGNORED : i).toArray();
    return new TokensRow(ids, labels, new RowSource(Path.of("a.jsonl"), number));
  }

  private static Encoded encode(int maxLength, OverlongPolicy policy, Row... rows) {
    return Examples.encode(List.of(rows), ExamplesTest::example, maxLength, policy);
  }

  private static Example example(Row row) {
    return row instanceof TokensRow(int[] ids, int[] labels, _)
        ? new Example(ids, labels == null ? ids : labels)
        : new Example(new int[0], new int[0]);
  }

  @Test
  void what_fits_is_kept_as_it_is() {
    Encoded encoded = encode(8, OverlongPolicy.TRUNCATE, row(1, 8, 5), row(2, 3, 1));

    assertThat(encoded.examples()).extracting(Example::length).containsExactly(8, 3);
    assertThat(encoded.warnings()).isEmpty();
    assertThat(encoded.tokens()).isEqualTo(11);
    assertThat(encoded.labelled()).isEqualTo(5);
  }

  @Test
  void what_is_too_long_loses_its_end() {
    Encoded encoded = encode(6, OverlongPolicy.TRUNCATE, row(1, 10, 5));

    assertThat(encoded.examples())
        .containsExactly(
            new Example(new int[] {0, 1, 2, 3, 4, 5}, new int[] {-100, -100, -100, -100, -100, 5}));
    assertThat(encoded.truncated()).isOne();
    assertThat(encoded.warnings())
        .containsExactly("1 of 1 examples were longer than max_length and lost their end");
  }

  @Test
  void what_would_teach_nothing_once_cut_is_left_out() {
    Encoded encoded = encode(5, OverlongPolicy.TRUNCATE, row(1, 10, 5), row(2, 4, 1));

    assertThat(encoded.examples()).hasSize(1);
    assertThat(encoded.droppedOverlong()).isOne();
    assertThat(encoded.warnings())
        .containsExactly(
            "1 of 2 examples were left out: max_length ends before their first trained token");
  }

  @Test
  void what_teaches_nothing_is_left_out() {
    Encoded encoded = encode(5, OverlongPolicy.TRUNCATE, row(1, 4, 4), row(2, 4, 1));

    assertThat(encoded.droppedUnlabelled()).isOne();
    assertThat(encoded.warnings())
        .containsExactly("1 of 2 examples were left out: they have no token to train on");
  }

  @Test
  void a_label_at_the_first_place_alone_teaches_nothing() {
    assertThatThrownBy(() -> encode(5, OverlongPolicy.TRUNCATE, row(1, 1, 0)))
        .hasMessage(
            "no example is left to train on: 1 of 1 examples were left out: they have no token to"
                + " train on; raise max_length, or check train_on and that the data has answers");
  }

  @Test
  void overlong_examples_are_refused_where_asked() {
    assertThatThrownBy(
            () -> encode(5, OverlongPolicy.ERROR, row(1, 5, 1), row(2, 9, 1), row(3, 12, 1)))
        .isInstanceOf(DataException.class)
        .hasMessage(
            "2 of 3 examples are longer than max_length 5, the first is a.jsonl row 2 with 9"
                + " tokens; raise max_length to 12, or let them be cut");
  }

  @Test
  void a_row_that_cannot_be_encoded_is_named() {
    assertThatThrownBy(
            () ->
                Examples.encode(
                    List.of(row(7, 2, 0)),
                    _ -> {
                      throw new IllegalArgumentException("roles must alternate");
                    },
                    8,
                    OverlongPolicy.TRUNCATE))
        .isInstanceOf(DataException.class)
        .hasMessage("a.jsonl row 7: roles must alternate");
  }

  @Test
  void a_length_that_leaves_nothing_to_predict_is_refused() {
    assertThatThrownBy(() -> encode(1, OverlongPolicy.TRUNCATE, row(1, 2, 0)))
        .hasMessage("max_length is 1 but must be 2 or more: one token to read and one to predict");
  }

  private static final String WORDS =
      """
      {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
       "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
       "decoder": null,
       "model": {"type": "WordLevel", "unk_token": "?",
         "vocab": {"?": 0, "q": 1, "a": 2, "user": 3, "assistant": 4, "f": 5, ".": 6}}}
      """;
  private static final String TEMPLATE =
      "{% for t in tools or [] %}{{ t.name }} {% endfor %}"
          + "{% for m in messages %}{{ m.role }} "
          + "{% generation %}{{ m.content }} . {% endgeneration %}{% endfor %}";

  @Test
  void each_kind_of_row_goes_through_the_encoder() {
    var source = new RowSource(Path.of("a.jsonl"), 1);
    List<Row> rows =
        List.of(
            new MessagesRow(List.of(Message.assistant("a")), List.of(Map.of("name", "f")), source),
            new PromptCompletionRow("q", " a", source),
            new TextRow("q a", source),
            new TokensRow(new int[] {1, 2, 6}, new int[] {-100, -100, 6}, source),
            new TokensRow(new int[] {1, 2}, null, source));
    var settings = TokenizerSettings.defaults().withChatTemplate(TEMPLATE);

    try (var tokenizer = Tokenizer.of(WORDS, settings)) {
      Encoded encoded =
          Examples.encode(rows, new ExampleEncoder(tokenizer, false), 8, OverlongPolicy.ERROR);

      assertThat(encoded.examples())
          .containsExactly(
              new Example(new int[] {5, 4, 2, 6}, new int[] {-100, -100, 2, 6}),
              new Example(new int[] {1, 2}, new int[] {-100, 2}),
              new Example(new int[] {1, 2}, new int[] {1, 2}),
              new Example(new int[] {1, 2, 6}, new int[] {-100, -100, 6}),
              new Example(new int[] {1, 2}, new int[] {1, 2}));
    }
  }

  @Test
  void an_id_beyond_the_vocabulary_is_refused_with_its_row() {
    var row = new TokensRow(new int[] {1, 7}, new int[] {1, 7}, new RowSource(Path.of("a"), 4));

    try (var tokenizer = Tokenizer.of(WORDS, TokenizerSettings.defaults())) {
      var encoder = new ExampleEncoder(tokenizer, false);

      assertThatThrownBy(() -> Examples.encode(List.of(row), encoder, 8, OverlongPolicy.TRUNCATE))
          .isInstanceOf(DataException.class)
          .hasMessageStartingWith("a row 4: ");
    }
  }
}
