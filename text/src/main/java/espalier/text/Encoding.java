package espalier.text;

import java.util.Arrays;

/**
 * Token ids with the place in the text that each came from.
 *
 * @param ids the token ids
 * @param starts for each token the first UTF-16 unit of the Java string that it covers
 * @param ends for each token the first unit after what it covers; equal to its start for tokens
 *     that cover nothing, such as an added BOS. Tokens that are part of one character (bytes of an
 *     emoji) all cover the whole character.
 */
@SuppressWarnings("ArrayRecordComponent") // compared by content below; arrays are what callers feed
public record Encoding(int[] ids, int[] starts, int[] ends) {

  public Encoding {
    if (ids.length != starts.length || ids.length != ends.length) {
      throw new IllegalArgumentException(
          "an encoding has %d ids, %d starts and %d ends but expects as many of each"
              .formatted(ids.length, starts.length, ends.length));
    }
  }

  /** How many tokens. */
  public int length() {
    return ids.length;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Encoding(int[] i, int[] s, int[] e)
        && Arrays.equals(ids, i)
        && Arrays.equals(starts, s)
        && Arrays.equals(ends, e);
  }

  @Override
  public int hashCode() {
    return 31 * (31 * Arrays.hashCode(ids) + Arrays.hashCode(starts)) + Arrays.hashCode(ends);
  }

  @Override
  public String toString() {
    return "Encoding[ids=%s, starts=%s, ends=%s]"
        .formatted(Arrays.toString(ids), Arrays.toString(starts), Arrays.toString(ends));
  }
}
