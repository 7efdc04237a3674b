package espalier.training;

/**
 * How far a run has come; with the adapter and the optimizer's state all that a resumed run needs.
 * Dropout's random numbers follow from the seed and the step.
 *
 * @param step steps done
 * @param bestLoss the least evaluation loss so far, nats per token; infinite before the first
 * @param withoutGain evaluations since the last gain
 */
public record TrainingState(int step, double bestLoss, int withoutGain) {

  /** Before the first step. */
  public static final TrainingState START = new TrainingState(0, Double.POSITIVE_INFINITY, 0);

  TrainingState stepped() {
    return new TrainingState(step + 1, bestLoss, withoutGain);
  }

  TrainingState evaluated(double loss, double minDelta) {
    return loss < bestLoss - minDelta
        ? new TrainingState(step, loss, 0)
        : new TrainingState(step, Math.min(loss, bestLoss), withoutGain + 1);
  }
}
