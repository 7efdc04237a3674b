package espalier.checkpoints;

import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;

/** The name that was probably meant. */
final class NearestName {

  private NearestName() {}

  static CheckpointException missing(Path file, String name, Collection<String> there) {
    String hint =
        there.isEmpty()
            ? "it has none at all"
            : "nearest of its %d is %s".formatted(there.size(), of(name, there));
    return CheckpointException.in(file, "there is no tensor %s; %s".formatted(name, hint));
  }

  private static String of(String name, Collection<String> there) {
    return there.stream()
        .min(Comparator.comparingInt(candidate -> distance(name, candidate)))
        .orElseThrow();
  }

  /** How many letters to insert, drop or exchange: Levenshtein's distance, row by row. */
  private static int distance(String a, String b) {
    int[] above = new int[b.length() + 1];
    for (int j = 0; j <= b.length(); j++) {
      above[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int[] row = new int[b.length() + 1];
      row[0] = i;
      for (int j = 1; j <= b.length(); j++) {
        int exchange = above[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        row[j] = Math.min(exchange, 1 + Math.min(above[j], row[j - 1]));
      }
      above = row;
    }
    return above[b.length()];
  }
}
