package espalier.recipes;

import espalier.training.RunListener;
import espalier.training.StepMetrics;

/**
 * Breaks a run off after a step, as the end of its process would.
 *
 * @param step after which; 0 for never
 */
record PowerCut(int step) implements RunListener {

  static final String MESSAGE = "the power went";

  @Override
  public void step(StepMetrics metrics) {
    if (metrics.step() == step) {
      throw new IllegalStateException(MESSAGE);
    }
  }
}
