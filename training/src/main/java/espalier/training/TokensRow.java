package espalier.training;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Text that already is tokens.
 *
 * @param ids token ids [time]
 * @param labels as many labels [time], each the id at its place or -100 where it is not learned;
 *     null if all are learned
 */
@SuppressWarnings("ArrayRecordComponent") // millions of ints; compared by content below
public record TokensRow(int[] ids, int @Nullable [] labels, RowSource source) implements Row {

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof TokensRow row
        && Arrays.equals(ids, row.ids)
        && Arrays.equals(labels, row.labels)
        && source.equals(row.source);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(ids) + Arrays.hashCode(labels);
  }

  @Override
  public String toString() {
    return "TokensRow[ids=%s, labels=%s, source=%s]"
        .formatted(Arrays.toString(ids), Arrays.toString(labels), source);
  }
}
