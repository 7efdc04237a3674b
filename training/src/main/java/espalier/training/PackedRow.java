package espalier.training;

import espalier.text.Example;
import java.util.List;

/**
 * Whole examples in one row of a batch.
 *
 * <p>Each keeps its own positions, counted from 0, and attends to itself only, so a packed row
 * teaches exactly what its examples teach one by one.
 *
 * @param examples in their order within the row; one or more
 * @param sharing whether tokens that several of them begin with stand in the row only once
 */
public record PackedRow(List<Example> examples, boolean sharing) {

  public PackedRow {
    examples = List.copyOf(examples);
    if (examples.isEmpty()) {
      throw new IllegalArgumentException(
          "a packed row has no examples but needs one or more; leave the row out");
    }
  }

  /** Examples one after another. */
  public PackedRow(List<Example> examples) {
    this(examples, false);
  }

  /** Tokens that stand in the row. */
  public int length() {
    return layout().length();
  }

  RowLayout layout() {
    return sharing ? RowLayout.sharing(examples) : RowLayout.apart(examples);
  }
}
