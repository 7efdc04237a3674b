package espalier.training;

import espalier.text.Example;
import java.util.List;

/**
 * Whole examples that share one row of a batch.
 *
 * <p>Each keeps its own positions, counted from 0, and attends to itself only, so a packed row
 * teaches exactly what its examples teach one by one.
 *
 * @param examples in their order within the row; one or more
 */
public record PackedRow(List<Example> examples) {

  public PackedRow {
    examples = List.copyOf(examples);
    if (examples.isEmpty()) {
      throw new IllegalArgumentException(
          "a packed row has no examples but needs one or more; leave the row out");
    }
  }

  /** Tokens of all examples together. */
  public int length() {
    return examples.stream().mapToInt(Example::length).sum();
  }
}
