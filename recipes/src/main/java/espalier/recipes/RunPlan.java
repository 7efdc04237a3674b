package espalier.recipes;

import espalier.text.Example;
import espalier.training.BatchPlan;
import espalier.training.EpochOrder;
import espalier.training.TrainingConfig;
import java.util.List;
import java.util.function.Consumer;

/**
 * The steps of a run as its recipe means them for the data that there is.
 *
 * @param batches which examples each step takes
 * @param config how many steps there are, and what happens at which of them
 */
record RunPlan(BatchPlan batches, TrainingConfig config) {

  /**
   * Plans a run.
   *
   * @param told what of the recipe has no effect, line by line
   */
  static RunPlan of(Recipe recipe, List<Example> examples, int padId, Consumer<String> told) {
    var settings = recipe.training();
    var order =
        recipe.data().shuffle()
            ? new EpochOrder.Shuffled(settings.seed())
            : new EpochOrder.InFileOrder();
    var batches =
        new BatchPlan(examples, order, settings.batchSize(), settings.gradientAccumulation());
    int steps = settings.steps() > 0 ? settings.steps() : batches.steps(settings.epochs());
    tell(settings, steps, told);
    return new RunPlan(
        batches,
        new TrainingConfig(
            steps,
            settings.courseOfRate(),
            recipe.data().packing(),
            recipe.data().maxLength(),
            padId,
            settings.evaluateEvery(),
            settings.saveEvery(),
            settings.earlyStopping(),
            settings.seed()));
  }

  private static void tell(TrainingSection settings, int steps, Consumer<String> told) {
    if (settings.steps() > 0 && settings.epochs() != TrainingSection.EPOCHS) {
      told.accept(
          "training.steps is %d and goes before training.epochs, so the %s epochs do not count; leave one of the two out"
              .formatted(settings.steps(), settings.epochs()));
    }
    if (settings.warmup() >= 1 && settings.warmup() >= steps) {
      told.accept(
          "training.warmup is %.0f steps but the run has %d, so the learning rate reaches %s at its end or never; lower warmup"
              .formatted(settings.warmup(), steps, settings.learningRate()));
    }
  }
}
