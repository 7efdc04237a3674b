package espalier.text;

import java.util.Arrays;

/**
 * One row of training data as numbers: token ids, and which of them are learned.
 *
 * <p>Labels are not shifted: {@code labels[i]} is {@code ids[i]} where token i is to be predicted,
 * and {@link #IGNORED} elsewhere. Position 0 has nothing before it to be predicted from, so its
 * label never counts.
 *
 * @param ids token ids [time]
 * @param labels as many labels [time]
 */
@SuppressWarnings("ArrayRecordComponent") // copied on the way in and compared by content below
public record Example(int[] ids, int[] labels) {

  /** The label of a token that is not learned, as PyTorch's cross-entropy has it. */
  public static final int IGNORED = -100;

  public Example {
    if (ids.length != labels.length) {
      throw new IllegalArgumentException(
          "an example has %d ids and %d labels but expects one label for each id; use %d for tokens"
                  .formatted(ids.length, labels.length, IGNORED)
              + " that are not learned");
    }
    ids = ids.clone();
    labels = labels.clone();
    for (int i = 0; i < ids.length; i++) {
      if (labels[i] != IGNORED && labels[i] != ids[i]) {
        throw new IllegalArgumentException(
            "label %d is %d but the id there is %d; a label is the id itself (not shifted) or %d"
                .formatted(i, labels[i], ids[i], IGNORED));
      }
    }
  }

  /** How many tokens. */
  public int length() {
    return ids.length;
  }

  /** How many labels count as targets: those from position 1 on that are not ignored. */
  public int labelled() {
    int count = 0;
    for (int i = 1; i < labels.length; i++) {
      if (labels[i] != IGNORED) {
        count++;
      }
    }
    return count;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Example(int[] i, int[] l)
        && Arrays.equals(ids, i)
        && Arrays.equals(labels, l);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(ids) + Arrays.hashCode(labels);
  }

  @Override
  public String toString() {
    return "Example[ids=%s, labels=%s]".formatted(Arrays.toString(ids), Arrays.toString(labels));
  }
}
