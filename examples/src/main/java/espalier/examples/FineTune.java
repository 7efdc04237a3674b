package espalier.examples;

import espalier.recipes.RecipeFile;
import espalier.recipes.TrainingRun;
import espalier.training.RunListener;
import espalier.training.StepMetrics;
import java.nio.file.Path;
import java.util.List;

/** Trains what a recipe says, and tells the loss of each step. */
public final class FineTune {

  private FineTune() {}

  /** {@code FineTune recipe.yaml [path=value...]}. */
  public static void main(String... arguments) {
    var changes = List.of(arguments).subList(1, arguments.length);
    var recipe = RecipeFile.read(Path.of(arguments[0]), changes);
    var listener =
        new RunListener() {
          @Override
          public void step(StepMetrics step) {
            IO.println("step %d: loss %.3f".formatted(step.step(), step.loss()));
          }
        };
    try (var run = TrainingRun.open(recipe, listener, message -> IO.println(message))) {
      run.train(false);
      IO.println("the adapter lies in " + run.folder());
    }
  }
}
