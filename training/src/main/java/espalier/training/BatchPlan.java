package espalier.training;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Which examples each optimizer step learns from: a function of the step's number, so a run that is
 * resumed at a step goes on with the very examples that it would have met.
 *
 * <p>A micro-batch is the next {@code batchSize} examples of the epoch's order, and a step is the
 * next {@code gradientAccumulation} micro-batches. What is left at the end of an epoch makes a
 * smaller micro-batch or step; neither reaches into the next epoch.
 *
 * <p>Packing changes none of this: a packed micro-batch is the same {@code batchSize} examples,
 * laid into as few rows as {@link Packing} finds instead of one padded row each. So a run has the
 * same steps over the same examples with packing and without, and only the padding disappears.
 */
public final class BatchPlan {

  private final List<Example> examples;
  private final EpochOrder order;
  private final int batchSize;
  private final int examplesPerStep;

  private int orderedEpoch = -1;
  private int[] indexes = {};

  /**
   * Plans a run.
   *
   * @param examples one or more
   * @param batchSize examples of a micro-batch, 1 or more
   * @param gradientAccumulation micro-batches of a step, 1 or more
   */
  public BatchPlan(
      List<Example> examples, EpochOrder order, int batchSize, int gradientAccumulation) {
    if (examples.isEmpty()) {
      throw new IllegalArgumentException("there are no examples to train on; give one or more");
    }
    if (batchSize < 1 || gradientAccumulation < 1) {
      throw new IllegalArgumentException(
          "batch_size is %d and gradient_accumulation is %d but both must be 1 or more"
              .formatted(batchSize, gradientAccumulation));
    }
    this.examples = List.copyOf(examples);
    this.order = order;
    this.batchSize = batchSize;
    long product = (long) batchSize * gradientAccumulation;
    // A step larger than the data takes all of it; capped so that positions stay in an int.
    this.examplesPerStep = (int) Math.min(product, Integer.MAX_VALUE / 2);
  }

  /** Optimizer steps of one pass over the data. */
  public int stepsPerEpoch() {
    return Math.ceilDiv(examples.size(), examplesPerStep);
  }

  /** Optimizer steps of {@code epochs} passes, rounded up: half an epoch of 5 steps is 3 steps. */
  public int steps(double epochs) {
    double steps = Math.ceil(epochs * stepsPerEpoch() - 1e-9);
    if (!(steps >= 1 && steps <= Integer.MAX_VALUE)) {
      throw new IllegalArgumentException(
          "epochs is %s, which makes %s steps of %d a pass, but a run has 1 to %d; 1 to 3 epochs are usual"
              .formatted(epochs, steps, stepsPerEpoch(), Integer.MAX_VALUE));
    }
    return (int) steps;
  }

  /** The place in the data before step {@code step}, counted from 0. */
  public DataPosition position(int step) {
    checkStep(step);
    return new DataPosition(
        step / stepsPerEpoch(), Math.multiplyExact(step % stepsPerEpoch(), examplesPerStep));
  }

  /**
   * The step that begins at {@code position}: the inverse of {@link #position}.
   *
   * @throws IllegalArgumentException if no step of this plan begins there, because the data or the
   *     batch size differ from those that made the position
   */
  public int step(DataPosition position) {
    if (position.index() % examplesPerStep != 0 || position.index() >= examples.size()) {
      throw new IllegalArgumentException(
          "the run stopped after example %d of epoch %d but steps of %d examples over %d examples never stop there; resume with the data, batch_size and gradient_accumulation that the run began with"
              .formatted(position.index(), position.epoch(), examplesPerStep, examples.size()));
    }
    return Math.addExact(
        Math.multiplyExact(position.epoch(), stepsPerEpoch()), position.index() / examplesPerStep);
  }

  /**
   * The micro-batches of one step.
   *
   * @param step counted from 0
   * @return one to {@code gradientAccumulation} micro-batches of one to {@code batchSize} examples
   */
  public List<List<Example>> microBatches(int step) {
    return indexes(step).stream()
        .map(batch -> Arrays.stream(batch).mapToObj(examples::get).toList())
        .toList();
  }

  /** As {@link #microBatches}, but the places of the examples in the list that was given. */
  public List<int[]> indexes(int step) {
    checkStep(step);
    int[] epoch = epoch(step / stepsPerEpoch());
    int begin = position(step).index();
    int end = Math.min(epoch.length, begin + examplesPerStep);
    var batches = new ArrayList<int[]>();
    for (int from = begin; from < end; from += batchSize) {
      batches.add(Arrays.copyOfRange(epoch, from, Math.min(end, from + batchSize)));
    }
    return List.copyOf(batches);
  }

  private int[] epoch(int epoch) {
    if (epoch != orderedEpoch) {
      indexes = order.indexes(examples, epoch);
      orderedEpoch = epoch;
    }
    return indexes;
  }

  private static void checkStep(int step) {
    if (step < 0) {
      throw new IllegalArgumentException(
          "step %d does not exist; steps count from 0".formatted(step));
    }
  }
}
