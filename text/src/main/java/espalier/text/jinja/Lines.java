package espalier.text.jinja;

import java.util.Arrays;

/** Tells the line of a place in a source, for error messages. */
final class Lines {

  private final int[] starts;

  Lines(String source) {
    int[] found = new int[(int) source.chars().filter(c -> c == '\n').count() + 1];
    int line = 1;
    for (int i = source.indexOf('\n'); i >= 0; i = source.indexOf('\n', i + 1)) {
      found[line++] = i + 1;
    }
    starts = found;
  }

  /** The line of a place, counted from 1. */
  int at(int position) {
    int found = Arrays.binarySearch(starts, position);
    return found >= 0 ? found + 1 : -found - 1;
  }
}
