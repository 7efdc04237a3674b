package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RowLayoutTest {

  private static Example example(int firstLearned, int... ids) {
    int[] labels = ids.clone();
    Arrays.fill(labels, 0, Math.min(firstLearned, ids.length), Example.IGNORED);
    return new Example(ids, labels);
  }

  /** Examples over three tokens, so that most begin alike and some are equal. */
  private static List<Example> random(int seed) {
    var random = new Random(seed);
    var examples = new ArrayList<Example>();
    for (int i = 0; i < 12; i++) {
      int[] ids = random.ints(1 + random.nextInt(6), 0, 3).toArray();
      examples.add(example(random.nextInt(4), ids));
    }
    return examples;
  }

  /** What a token sees, itself last, in order. */
  private static List<Integer> seen(RowLayout row, int place) {
    var seen = new ArrayList<Integer>();
    for (int i = 0; i <= place; i++) {
      if (row.reach(i) > place) {
        seen.add(row.id(i));
      }
    }
    return seen;
  }

  /** What is learned: the tokens seen where it is judged, and the token itself behind them. */
  private static List<List<Integer>> lessons(RowLayout row) {
    return row.judged().stream()
        .map(
            judged -> {
              List<Integer> lesson = seen(row, judged.source());
              lesson.add(row.id(judged.place()));
              return lesson;
            })
        .sorted((a, b) -> a.toString().compareTo(b.toString()))
        .toList();
  }

  @Test
  void what_two_examples_begin_with_stands_once() {
    RowLayout row =
        RowLayout.sharing(List.of(example(2, 7, 8, 9, 1), example(2, 7, 8, 5), example(1, 7, 8)));

    assertThat(row.length()).isEqualTo(5);
    assertThat(List.of(row.id(0), row.id(1), row.id(2), row.id(3), row.id(4)))
        .containsExactly(7, 8, 5, 9, 1);
    assertThat(List.of(row.reach(0), row.reach(1), row.reach(2), row.reach(3), row.reach(4)))
        .containsExactly(5, 5, 3, 5, 5);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
  void the_same_is_learned_after_the_same_tokens_as_apart(int seed) {
    List<Example> examples = random(seed);
    RowLayout apart = RowLayout.apart(examples);

    RowLayout sharing = RowLayout.sharing(examples);

    assertThat(lessons(sharing)).isEqualTo(lessons(apart));
    assertThat(sharing.length()).isLessThan(apart.length());
  }

  @Test
  void equal_examples_cost_one_and_count_each() {
    RowLayout row = RowLayout.sharing(List.of(example(1, 4, 5, 6), example(1, 4, 5, 6)));

    assertThat(row.length()).isEqualTo(3);
    assertThat(row.judged()).hasSize(4);
  }
}
