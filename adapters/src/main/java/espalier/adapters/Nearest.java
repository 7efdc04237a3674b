package espalier.adapters;

import java.util.Collection;
import java.util.Comparator;
import java.util.Map;
import java.util.TreeMap;

/** What the user may have meant by a name that is not known. */
public final class Nearest {

  private Nearest() {}

  /**
   * The known name with the fewest edits to {@code word}; of several the first.
   *
   * @param known one at least
   */
  public static String of(String word, Collection<String> known) {
    return known.stream().min(Comparator.comparingInt(name -> edits(word, name))).orElseThrow();
  }

  /** A clause such as {@code nearest is q_proj (30 layers)}. */
  static String layer(String entry, Collection<String> paths) {
    String wanted = last(entry);
    Map<String, Integer> counts = new TreeMap<>();
    paths.forEach(path -> counts.merge(last(path), 1, Integer::sum));
    if (!counts.isEmpty()) {
      String best = of(wanted, counts.keySet());
      if (edits(wanted, best) <= Math.max(2, wanted.length() / 3)) {
        int count = counts.getOrDefault(best, 0);
        return "nearest is %s (%d layer%s)".formatted(best, count, count == 1 ? "" : "s");
      }
    }
    return "the model has " + String.join(", ", counts.keySet());
  }

  private static String last(String path) {
    return path.substring(path.lastIndexOf('.') + 1);
  }

  /** Edits (insert, delete, replace, swap of neighbours) from one word to the other. */
  private static int edits(String a, String b) {
    int[][] d = new int[a.length() + 1][b.length() + 1];
    for (int i = 0; i <= a.length(); i++) {
      for (int j = 0; j <= b.length(); j++) {
        if (i == 0 || j == 0) {
          d[i][j] = i + j;
          continue;
        }
        int replace = d[i - 1][j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        d[i][j] = Math.min(replace, Math.min(d[i - 1][j], d[i][j - 1]) + 1);
        if (i > 1
            && j > 1
            && a.charAt(i - 1) == b.charAt(j - 2)
            && a.charAt(i - 2) == b.charAt(j - 1)) {
          d[i][j] = Math.min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    return d[a.length()][b.length()];
  }
}
