package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.text.Example;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class EpochOrderTest {

  private static List<Example> examples(int count) {
    return IntStream.range(0, count).mapToObj(i -> BatchPlanTest.example(1 + i * 7 % 13)).toList();
  }

  @Test
  void the_shuffle_is_the_documented_one() {
    // computed by a Python program from the description alone
    assertThat(new EpochOrder.Shuffled(42).indexes(examples(10), 0))
        .containsExactly(0, 3, 5, 7, 9, 8, 2, 1, 4, 6);
    assertThat(new EpochOrder.Shuffled(42).indexes(examples(10), 1))
        .containsExactly(6, 5, 1, 4, 7, 3, 2, 9, 8, 0);
    assertThat(new EpochOrder.Shuffled(-7).indexes(examples(10), 0))
        .containsExactly(8, 6, 7, 2, 1, 5, 9, 3, 0, 4);
  }

  @Test
  void the_order_of_the_file_is_kept_where_asked() {
    assertThat(new EpochOrder.InFileOrder().indexes(examples(4), 9)).containsExactly(0, 1, 2, 3);
  }

  @Test
  void grouping_by_length_takes_each_example_once() {
    int[] order = new EpochOrder.LengthGrouped(3, 4).indexes(examples(1003), 2);

    assertThat(Arrays.stream(order).sorted().toArray())
        .containsExactly(IntStream.range(0, 1003).toArray());
  }

  @Test
  void grouping_by_length_leaves_little_padding() {
    List<Example> examples = examples(1000);

    int grouped = padding(new EpochOrder.LengthGrouped(3, 4).indexes(examples, 0), examples);
    int shuffled = padding(new EpochOrder.Shuffled(3).indexes(examples, 0), examples);

    assertThat(grouped).isLessThan(shuffled / 10);
  }

  @Test
  void grouping_by_length_does_not_go_from_long_to_short() {
    List<Example> examples = examples(200);
    int[] order = new EpochOrder.LengthGrouped(3, 4).indexes(examples, 0);

    int[] firstOfBatches =
        IntStream.range(0, 50).map(batch -> examples.get(order[4 * batch]).length()).toArray();

    assertThat(Arrays.stream(firstOfBatches).limit(10).max().orElseThrow()).isGreaterThan(6);
    assertThat(Arrays.stream(firstOfBatches).limit(10).min().orElseThrow()).isLessThan(6);
  }

  private static int padding(int[] order, List<Example> examples) {
    int padding = 0;
    for (int from = 0; from < order.length; from += 4) {
      int[] lengths =
          Arrays.stream(order, from, from + 4).map(i -> examples.get(i).length()).toArray();
      int longest = Arrays.stream(lengths).max().orElseThrow();
      padding += Arrays.stream(lengths).map(length -> longest - length).sum();
    }
    return padding;
  }

  @Test
  void a_batch_as_large_as_can_be_said_is_one_pool() {
    int[] order = new EpochOrder.LengthGrouped(3, Integer.MAX_VALUE).indexes(examples(9), 0);

    assertThat(order).hasSize(9).doesNotHaveDuplicates();
  }
}
