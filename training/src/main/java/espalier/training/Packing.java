package espalier.training;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Lays examples into as few rows as first-fit-decreasing finds: the longest first, each into the
 * first row that has room. It needs at most 11/9 of the fewest possible rows, and one more.
 *
 * @see <a href="https://doi.org/10.1137/0203025">Johnson and others: Worst-Case Performance Bounds
 *     for Simple One-Dimensional Packing Algorithms, 1974</a>
 */
public final class Packing {

  private Packing() {}

  /**
   * Packs {@code examples}. The result depends on nothing but the arguments; examples of equal
   * length keep their order.
   *
   * @param maxLength tokens that a row may hold
   * @throws IllegalArgumentException if an example is longer than {@code maxLength}
   */
  public static List<PackedRow> pack(List<Example> examples, int maxLength) {
    var room = new RowRoom(examples.size(), maxLength);
    var rows = new ArrayList<List<Example>>();
    for (int index : longestFirst(examples, maxLength)) {
      Example example = examples.get(index);
      int row = room.take(example.length());
      if (row == rows.size()) {
        rows.add(new ArrayList<>());
      }
      rows.get(row).add(example);
    }
    return rows.stream().map(PackedRow::new).toList();
  }

  /**
   * Packs {@code examples} so that those of a row share what they begin with: the longest first,
   * each into the row, of those with room, that already holds most of its beginning. It looks at
   * all pairs, so it is for the examples of a batch and not for those of a data set.
   *
   * @param maxLength tokens that a row may hold
   * @throws IllegalArgumentException if an example is longer than {@code maxLength}
   */
  public static List<PackedRow> packSharing(List<Example> examples, int maxLength) {
    var rows = new ArrayList<SharingRow>();
    for (int index : longestFirst(examples, maxLength)) {
      Example example = examples.get(index);
      SharingRow best = null;
      int most = -1;
      for (SharingRow row : rows) {
        int shared = row.shared(example);
        if (shared > most && row.length + example.length() - shared <= maxLength) {
          best = row;
          most = shared;
        }
      }
      if (best == null) {
        best = new SharingRow();
        rows.add(best);
      }
      best.add(example);
    }
    return rows.stream().map(row -> new PackedRow(row.examples, true)).toList();
  }

  private static final class SharingRow {
    private final List<Example> examples = new ArrayList<>();
    private int length;

    int shared(Example example) {
      return examples.stream().mapToInt(one -> RowLayout.shared(one, example)).max().orElse(0);
    }

    void add(Example example) {
      length += example.length() - shared(example);
      examples.add(example);
    }
  }

  private static List<Integer> longestFirst(List<Example> examples, int maxLength) {
    for (int i = 0; i < examples.size(); i++) {
      if (examples.get(i).length() > maxLength) {
        throw new IllegalArgumentException(
            "example %d has %d tokens but max_length is %d; shorten it or raise max_length"
                .formatted(i, examples.get(i).length(), maxLength));
      }
    }
    return IntStream.range(0, examples.size())
        .boxed()
        .sorted(Comparator.comparingInt((Integer i) -> -examples.get(i).length()))
        .toList();
  }
}
