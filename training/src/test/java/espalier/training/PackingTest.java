package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class PackingTest {

  private static List<List<Integer>> lengths(List<PackedRow> rows) {
    return rows.stream().map(row -> row.examples().stream().map(Example::length).toList()).toList();
  }

  private static List<Example> examples(int... lengths) {
    return IntStream.of(lengths).mapToObj(BatchPlanTest::example).toList();
  }

  @Test
  void the_longest_come_first_each_into_the_first_row_with_room() {
    List<PackedRow> rows = Packing.pack(examples(2, 5, 4, 7, 1, 3), 10);

    assertThat(lengths(rows)).containsExactly(List.of(7, 3), List.of(5, 4, 1), List.of(2));
  }

  @Test
  void examples_of_equal_length_keep_their_order() {
    var a = new Example(new int[] {1, 2}, new int[] {1, 2});
    var b = new Example(new int[] {3, 4}, new int[] {3, 4});

    assertThat(Packing.pack(List.of(a, b), 4)).containsExactly(new PackedRow(List.of(a, b)));
    assertThat(Packing.pack(List.of(b, a), 4)).containsExactly(new PackedRow(List.of(b, a)));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 8, 9, 100, 1000})
  void the_tree_finds_the_rows_that_a_plain_search_finds(int count) {
    var random = new Random(count);
    List<Example> examples =
        IntStream.range(0, count)
            .mapToObj(i -> BatchPlanTest.example(1 + random.nextInt(64)))
            .toList();

    assertThat(lengths(Packing.pack(examples, 64))).isEqualTo(plainSearch(examples, 64));
  }

  @Test
  void a_row_counts_the_tokens_of_all_its_examples() {
    assertThat(new PackedRow(examples(3, 4)).length()).isEqualTo(7);
  }

  @Test
  void an_example_joins_the_row_that_holds_most_of_its_beginning() {
    Example a = of(1, 1, 1, 1, 1, 1);
    Example b = of(2, 2, 2, 2, 2);
    Example c = of(2, 2, 2, 3);
    Example d = of(1, 1, 1, 2);

    List<PackedRow> rows = Packing.packSharing(List.of(a, b, c, d), 7);

    assertThat(rows)
        .containsExactly(new PackedRow(List.of(a, d), true), new PackedRow(List.of(b, c), true));
    assertThat(rows).extracting(PackedRow::length).containsExactly(7, 6);
  }

  @Test
  void no_shared_row_is_longer_than_allowed() {
    var random = new Random(3);
    List<Example> examples =
        IntStream.range(0, 60)
            .mapToObj(_ -> of(random.ints(1 + random.nextInt(9), 0, 2).toArray()))
            .toList();

    List<PackedRow> rows = Packing.packSharing(examples, 9);

    assertThat(rows).allMatch(row -> row.length() <= 9);
    assertThat(rows.stream().flatMap(row -> row.examples().stream()))
        .containsExactlyInAnyOrderElementsOf(examples);
    assertThat(rows).hasSizeLessThan(Packing.pack(examples, 9).size());
  }

  private static Example of(int... ids) {
    return new Example(ids, ids);
  }

  @Test
  void nothing_packs_into_nothing() {
    assertThat(Packing.pack(List.of(), 8)).isEmpty();
  }

  @Test
  void an_example_that_fits_no_row_is_refused() {
    assertThatThrownBy(() -> Packing.pack(examples(3, 9), 8))
        .hasMessage("example 1 has 9 tokens but max_length is 8; shorten it or raise max_length");
  }

  @Test
  void an_empty_row_is_refused() {
    assertThatThrownBy(() -> new PackedRow(List.of()))
        .hasMessage("a packed row has no examples but needs one or more; leave the row out");
  }

  private static List<List<Integer>> plainSearch(List<Example> examples, int maxLength) {
    var rows = new ArrayList<List<Integer>>();
    examples.stream()
        .map(Example::length)
        .sorted(Comparator.reverseOrder())
        .forEach(
            length ->
                rows.stream()
                    .filter(row -> row.stream().mapToInt(i -> i).sum() + length <= maxLength)
                    .findFirst()
                    .ifPresentOrElse(
                        row -> row.add(length), () -> rows.add(new ArrayList<>(List.of(length)))));
    return rows;
  }
}
