package espalier.text;

import java.util.Arrays;
import java.util.List;

/** Labels of an encoded text, where stretches of the text are learned. */
final class Labels {

  private Labels() {}

  /** The ids of the tokens that the stretches touch, and {@link Example#IGNORED} elsewhere. */
  static int[] of(Encoding encoding, List<Span> learned) {
    int[] labels = new int[encoding.length()];
    Arrays.fill(labels, Example.IGNORED);
    for (Span span : learned) {
      int first = -1;
      int last = -1;
      for (int i = 0; i < encoding.length(); i++) {
        if (span.overlaps(encoding.starts()[i], encoding.ends()[i])) {
          first = first < 0 ? i : first;
          last = i;
        }
      }
      // all between, as a token of spaces may cover nothing
      for (int i = Math.max(first, 0); i <= last; i++) {
        labels[i] = encoding.ids()[i];
      }
    }
    return labels;
  }
}
