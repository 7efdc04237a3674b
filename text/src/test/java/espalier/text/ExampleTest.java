package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class ExampleTest {

  @Test
  void the_first_label_is_no_target() {
    Example example = new Example(new int[] {5, 6, 7}, new int[] {5, -100, 7});

    assertThat(example.length()).isEqualTo(3);
    assertThat(example.labelled()).isEqualTo(1);
  }

  @Test
  void an_empty_example_has_nothing_to_learn() {
    assertThat(new Example(new int[0], new int[0]).labelled()).isZero();
  }

  @Test
  void examples_are_equal_by_content() {
    Example one = new Example(new int[] {1, 2}, new int[] {-100, 2});
    Example same = new Example(new int[] {1, 2}, new int[] {-100, 2});
    Example other = new Example(new int[] {1, 2}, new int[] {1, 2});

    assertThat(one).isEqualTo(same).hasSameHashCodeAs(same).isNotEqualTo(other);
    assertThat(one).hasToString("Example[ids=[1, 2], labels=[-100, 2]]");
  }

  @Test
  void an_example_keeps_its_own_numbers() {
    int[] ids = {1, 2};
    Example example = new Example(ids, ids);

    ids[0] = 9;

    assertThat(example.ids()).containsExactly(1, 2);
    assertThat(example.labels()).containsExactly(1, 2);
  }

  @Test
  void ids_and_labels_of_different_length_are_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Example(new int[2], new int[3]))
        .withMessage(
            "an example has 2 ids and 3 labels but expects one label for each id; use -100 for"
                + " tokens that are not learned");
  }

  @Test
  void shifted_labels_are_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Example(new int[] {1, 2}, new int[] {2, -100}))
        .withMessage(
            "label 0 is 2 but the id there is 1; a label is the id itself (not shifted) or -100");
  }
}
