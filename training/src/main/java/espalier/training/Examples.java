package espalier.training;

import espalier.text.Example;
import espalier.text.ExampleEncoder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/** Turns rows into examples that fit. */
public final class Examples {

  private Examples() {}

  /**
   * Encodes {@code rows} and deals with what is too long or teaches nothing.
   *
   * @param maxLength tokens of the longest example kept whole, 2 or more
   * @throws DataException if a row cannot be encoded, an example is too long under {@link
   *     OverlongPolicy#ERROR}, or nothing is left
   */
  public static Encoded encode(
      List<Row> rows, ExampleEncoder encoder, int maxLength, OverlongPolicy policy) {
    return encode(rows, row -> encode(row, encoder), maxLength, policy);
  }

  static Encoded encode(
      List<Row> rows, Function<Row, Example> encoder, int maxLength, OverlongPolicy policy) {
    if (maxLength < 2) {
      throw new IllegalArgumentException(
          "max_length is %d but must be 2 or more: one token to read and one to predict"
              .formatted(maxLength));
    }
    var all = new ArrayList<Example>(rows.size());
    for (Row row : rows) {
      all.add(encodeOne(row, encoder));
    }
    if (policy == OverlongPolicy.ERROR) {
      refuseOverlong(rows, all, maxLength);
    }
    var kept = new ArrayList<Example>(all.size());
    int truncated = 0;
    int droppedOverlong = 0;
    int droppedUnlabelled = 0;
    for (Example example : all) {
      if (example.labelled() == 0) {
        droppedUnlabelled++;
      } else if (example.length() <= maxLength) {
        kept.add(example);
      } else {
        Example first = first(example, maxLength);
        if (first.labelled() == 0) {
          droppedOverlong++;
        } else {
          truncated++;
          kept.add(first);
        }
      }
    }
    var encoded = new Encoded(kept, truncated, droppedOverlong, droppedUnlabelled);
    if (kept.isEmpty()) {
      throw new DataException(
          "no example is left to train on: %s; raise max_length, or check train_on and that the data has answers"
              .formatted(
                  rows.isEmpty() ? "there were no rows" : String.join("; ", encoded.warnings())));
    }
    return encoded;
  }

  private static Example encodeOne(Row row, Function<Row, Example> encoder) {
    try {
      return encoder.apply(row);
    } catch (RuntimeException e) {
      throw new DataException("%s: %s".formatted(row.source(), e.getMessage()), e);
    }
  }

  private static Example encode(Row row, ExampleEncoder encoder) {
    return switch (row) {
      case MessagesRow talk ->
          encoder.messages(
              talk.messages(), talk.tools().isEmpty() ? Map.of() : Map.of("tools", talk.tools()));
      case PromptCompletionRow pair -> encoder.promptCompletion(pair.prompt(), pair.completion());
      case TextRow text -> encoder.text(text.text());
      case TokensRow tokens -> {
        Example all = encoder.tokens(tokens.ids()); // refuses ids that the model does not know
        int[] labels = tokens.labels();
        yield labels == null ? all : new Example(tokens.ids(), labels);
      }
    };
  }

  private static Example first(Example example, int length) {
    return new Example(
        Arrays.copyOf(example.ids(), length), Arrays.copyOf(example.labels(), length));
  }

  private static void refuseOverlong(List<Row> rows, List<Example> all, int maxLength) {
    int count = 0;
    int first = -1;
    int longest = 0;
    for (int i = 0; i < all.size(); i++) {
      int length = all.get(i).length();
      if (length > maxLength) {
        count++;
        first = first < 0 ? i : first;
        longest = Math.max(longest, length);
      }
    }
    if (count > 0) {
      throw new DataException(
          "%d of %d examples are longer than max_length %d, the first is %s with %d tokens; raise max_length to %d, or let them be cut"
              .formatted(
                  count,
                  all.size(),
                  maxLength,
                  rows.get(first).source(),
                  all.get(first).length(),
                  longest));
    }
  }
}
