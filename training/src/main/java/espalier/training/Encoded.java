package espalier.training;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.List;

/**
 * Data as tokens, ready to train on, and what had to be left out.
 *
 * @param examples each no longer than max_length and with a labelled token, in the order of the
 *     rows
 * @param truncated examples that lost their end to max_length and are among {@code examples}
 * @param droppedOverlong examples left out because their first max_length tokens are all unlabelled
 * @param droppedUnlabelled examples left out because nothing in them is to be learned
 */
public record Encoded(
    List<Example> examples, int truncated, int droppedOverlong, int droppedUnlabelled) {

  public Encoded {
    examples = List.copyOf(examples);
  }

  /** Tokens of all examples. */
  public long tokens() {
    return examples.stream().mapToLong(Example::length).sum();
  }

  /** Labelled tokens of all examples. */
  public long labelled() {
    return examples.stream().mapToLong(Example::labelled).sum();
  }

  /** A sentence for each kind of loss that there was; mostly none. */
  public List<String> warnings() {
    var warnings = new ArrayList<String>();
    int rows = examples.size() + droppedOverlong + droppedUnlabelled;
    if (truncated > 0) {
      warnings.add(
          "%d of %d examples were longer than max_length and lost their end"
              .formatted(truncated, rows));
    }
    if (droppedOverlong > 0) {
      warnings.add(
          "%d of %d examples were left out: max_length ends before their first trained token"
              .formatted(droppedOverlong, rows));
    }
    if (droppedUnlabelled > 0) {
      warnings.add(
          "%d of %d examples were left out: they have no token to train on"
              .formatted(droppedUnlabelled, rows));
    }
    return warnings;
  }
}
