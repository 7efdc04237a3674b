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
    List<Integer> longestFirst =
        IntStream.range(0, examples.size())
            .boxed()
            .sorted(Comparator.comparingInt((Integer i) -> -examples.get(i).length()))
            .toList();
    var room = new RowRoom(examples.size(), maxLength);
    var rows = new ArrayList<List<Example>>();
    for (int index : longestFirst) {
      Example example = examples.get(index);
      if (example.length() > maxLength) {
        throw new IllegalArgumentException(
            "example %d has %d tokens but max_length is %d; shorten it or raise max_length"
                .formatted(index, example.length(), maxLength));
      }
      int row = room.take(example.length());
      if (row == rows.size()) {
        rows.add(new ArrayList<>());
      }
      rows.get(row).add(example);
    }
    return rows.stream().map(PackedRow::new).toList();
  }
}
