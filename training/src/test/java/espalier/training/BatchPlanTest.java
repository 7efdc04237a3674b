package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.text.Example;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class BatchPlanTest {

  /** An example of this many tokens, all learned. */
  static Example example(int length) {
    int[] ids = IntStream.range(0, length).toArray();
    return new Example(ids, ids);
  }

  private static BatchPlan plan(int examples, int batchSize, int accumulation) {
    return new BatchPlan(
        IntStream.rangeClosed(1, examples).mapToObj(BatchPlanTest::example).toList(),
        new EpochOrder.Shuffled(42),
        batchSize,
        accumulation);
  }

  @Test
  void an_epoch_takes_each_example_once() {
    BatchPlan plan = plan(11, 2, 2);

    int[] taken =
        IntStream.range(0, plan.stepsPerEpoch())
            .boxed()
            .flatMap(step -> plan.indexes(step).stream())
            .flatMapToInt(Arrays::stream)
            .sorted()
            .toArray();

    assertThat(plan.stepsPerEpoch()).isEqualTo(3);
    assertThat(taken).containsExactly(IntStream.range(0, 11).toArray());
  }

  @Test
  void the_rest_of_an_epoch_makes_a_smaller_step() {
    List<int[]> last = plan(11, 2, 2).indexes(2);

    assertThat(last).extracting(batch -> batch.length).containsExactly(2, 1);
  }

  @Test
  void epochs_differ_and_a_plan_made_anew_gives_the_same() {
    BatchPlan plan = plan(64, 64, 1);

    assertThat(plan.indexes(0).getFirst()).isNotEqualTo(plan.indexes(1).getFirst());
    assertThat(plan(64, 64, 1).indexes(1).getFirst()).isEqualTo(plan.indexes(1).getFirst());
  }

  @Test
  void going_back_to_an_earlier_epoch_gives_its_order_again() {
    BatchPlan plan = plan(9, 3, 1);
    int[] before = plan.indexes(1).getFirst();

    plan.indexes(7);

    assertThat(plan.indexes(1).getFirst()).isEqualTo(before);
  }

  @Test
  void micro_batches_are_the_examples_at_the_indexes() {
    BatchPlan plan = plan(5, 2, 2);

    List<List<Example>> batches = plan.microBatches(0);

    // example i has i + 1 tokens
    assertThat(batches.getFirst().getFirst().length()).isEqualTo(plan.indexes(0).getFirst()[0] + 1);
    assertThat(batches).extracting(List::size).containsExactly(2, 2);
  }

  @Test
  void packing_keeps_the_examples_of_a_step() {
    BatchPlan plan = plan(12, 6, 2);

    for (List<Example> batch : plan.microBatches(0)) {
      List<PackedRow> rows = Packing.pack(batch, 16);

      assertThat(rows.stream().flatMap(row -> row.examples().stream()))
          .containsExactlyInAnyOrderElementsOf(batch);
      assertThat(rows.size()).isLessThan(batch.size());
    }
  }

  @Test
  void every_step_is_found_again_from_its_position() {
    BatchPlan plan = plan(11, 2, 2);

    for (int step = 0; step < 10; step++) {
      assertThat(plan.step(plan.position(step))).isEqualTo(step);
    }
    assertThat(plan.position(0)).isEqualTo(DataPosition.START);
    assertThat(plan.position(5)).isEqualTo(new DataPosition(1, 8));
  }

  @Test
  void a_position_of_other_settings_is_refused() {
    assertThatThrownBy(() -> plan(11, 2, 2).step(new DataPosition(0, 6)))
        .hasMessage(
            "the run stopped after example 6 of epoch 0 but steps of 4 examples over 11 examples"
                + " never stop there; resume with the data, batch_size and gradient_accumulation"
                + " that the run began with");
  }

  @Test
  void parts_of_epochs_are_rounded_up_to_steps() {
    BatchPlan plan = plan(11, 2, 2);

    assertThat(plan.steps(2)).isEqualTo(6);
    assertThat(plan.steps(0.5)).isEqualTo(2);
    assertThatThrownBy(() -> plan.steps(0)).hasMessageStartingWith("epochs is 0.0");
    assertThatThrownBy(() -> plan.steps(Double.NaN)).hasMessageStartingWith("epochs is NaN");
  }

  @Test
  void a_batch_larger_than_the_data_takes_all() {
    BatchPlan plan = plan(3, Integer.MAX_VALUE, Integer.MAX_VALUE);

    assertThat(plan.stepsPerEpoch()).isOne();
    assertThat(plan.indexes(5)).hasSize(1).first().satisfies(b -> assertThat(b).hasSize(3));
  }

  @Test
  void sizes_below_one_are_refused() {
    assertThatThrownBy(() -> plan(3, 0, 1))
        .hasMessage("batch_size is 0 and gradient_accumulation is 1 but both must be 1 or more");
    assertThatThrownBy(() -> plan(0, 1, 1))
        .hasMessage("there are no examples to train on; give one or more");
  }
}
