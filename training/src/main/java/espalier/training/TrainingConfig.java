package espalier.training;

import org.jspecify.annotations.Nullable;

/**
 * How a run goes about it.
 *
 * @param steps optimizer steps of the whole run, 1 or more
 * @param schedule the course of the learning rate
 * @param packing whether the examples of a micro-batch share rows
 * @param maxLength tokens that a row may hold
 * @param padId the id that fills rows up; it is never seen by attention
 * @param evaluateEvery steps between evaluations; 0 for none but the last
 * @param saveEvery steps between checkpoints; 0 for none but the last
 * @param earlyStopping when to end before the last step, or null for never
 * @param seed of dropout, with the step's number
 */
public record TrainingConfig(
    int steps,
    Schedule schedule,
    boolean packing,
    int maxLength,
    int padId,
    int evaluateEvery,
    int saveEvery,
    @Nullable EarlyStopping earlyStopping,
    long seed) {

  public TrainingConfig {
    if (steps < 1) {
      throw new IllegalArgumentException(
          "steps is %d but a run takes 1 step or more".formatted(steps));
    }
    if (evaluateEvery < 0 || saveEvery < 0) {
      throw new IllegalArgumentException(
          "evaluate_every is %d and save_every is %d but neither may be negative; 0 turns it off"
              .formatted(evaluateEvery, saveEvery));
    }
  }

  /**
   * Ends a run that no longer gains.
   *
   * @param patience evaluations without a gain that are borne, 1 or more
   * @param minDelta how much the loss must fall to count as a gain, nats per token
   */
  public record EarlyStopping(int patience, double minDelta) {
    public EarlyStopping {
      if (patience < 1 || !(minDelta >= 0)) {
        throw new IllegalArgumentException(
            "early_stopping has patience %d and min_delta %s but needs patience 1 or more and a delta that is not negative"
                .formatted(patience, minDelta));
      }
    }
  }
}
