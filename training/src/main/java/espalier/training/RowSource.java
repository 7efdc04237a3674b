package espalier.training;

import java.nio.file.Path;

/**
 * Where a row was read.
 *
 * @param number of the row in its file, from 1; blank lines are not rows, nor is a CSV's header
 */
public record RowSource(Path file, long number) {

  /** As errors name it: {@code define.train.jsonl row 17}. */
  @Override
  public String toString() {
    return file + " row " + number;
  }
}
