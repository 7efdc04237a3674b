package espalier.cli;

import espalier.recipes.Recipe;
import espalier.recipes.TrainingRun;
import espalier.training.EvalMetrics;
import espalier.training.Memory;
import espalier.training.TrainingState;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.node.ObjectNode;

/**
 * What came of one recipe.
 *
 * @param name what the recipe is called
 * @param method its {@code peft_type}
 * @param parameters trained numbers
 * @param steps optimizer steps
 * @param before the evaluation before training
 * @param after the evaluation at the end
 * @param seconds of training, evaluations included
 * @param peakBytes the most memory the process held from loading the model on
 * @param adapter the adapter's file
 */
record ComparedRun(
    String name,
    String method,
    long parameters,
    int steps,
    EvalMetrics before,
    EvalMetrics after,
    double seconds,
    long peakBytes,
    String adapter) {

  /** Trains a recipe and closes all that it needed. */
  static ComparedRun of(String name, Recipe recipe, Output output) {
    Memory.resetPeak();
    try (var listener = new TerminalListener(output, false, 0);
        var run = TrainingRun.open(recipe, listener, output::note)) {
      TrainCommand.facts(run).forEach(output::note);
      var adapters = run.model().adapters();
      long parameters = adapters.parameters().values().stream().mapToLong(Tensor::numel).sum();
      long start = System.nanoTime();
      TrainingState end = run.train(false);
      double seconds = (System.nanoTime() - start) / 1e9;
      listener.finish();
      // The best adapter of a run that stops early is not the last one that was looked at.
      boolean last = recipe.training().earlyStopping() == null;
      EvalMetrics after = last ? listener.evals().getLast() : run.evaluate();
      return new ComparedRun(
          name,
          adapters.config(TrainingRun.ADAPTER).peftType(),
          parameters,
          end.step(),
          listener.evals().getFirst(),
          after,
          seconds,
          Memory.peakBytes(),
          run.adapterFile().toString());
    }
  }

  ObjectNode row() {
    return Output.row()
        .put("recipe", name)
        .put("method", method)
        .put("trainable_parameters", parameters)
        .put("steps", steps)
        .put("eval_loss_before", before.loss())
        .put("eval_loss", after.loss())
        .put("token_accuracy", after.tokenAccuracy())
        .put("seconds", seconds)
        .put("peak_mb", Math.round(peakBytes / 1e6));
  }

  /** The table as Markdown. */
  static String markdown(List<ComparedRun> runs, List<String> warnings) {
    var text = new StringBuilder("# Comparison\n\n");
    warnings.forEach(warning -> text.append("**").append(warning).append("**\n\n"));
    text.append(
        """
        | recipe | method | trainable parameters | steps | eval loss before | eval loss | token accuracy | seconds | peak MB |
        | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        """);
    for (ComparedRun run : runs) {
      text.append(
          String.format(
              Locale.ROOT,
              "| %s | %s | %,d | %d | %.4f | %.4f | %.4f | %.1f | %.0f |%n",
              run.name.replace("|", "\\|"),
              run.method,
              run.parameters,
              run.steps,
              run.before.loss(),
              run.after.loss(),
              run.after.tokenAccuracy(),
              run.seconds,
              run.peakBytes / 1e6));
    }
    return text.append("\n![Eval loss against trainable parameters](compare.png)\n")
        .toString()
        .replace("\r\n", "\n");
  }

  /** Why the runs of these recipes can not be told apart by their methods alone, sentences. */
  static List<String> unequal(List<Recipe> recipes) {
    var warnings = new ArrayList<String>();
    Recipe first = recipes.getFirst();
    for (Recipe other : recipes) {
      var differ = new ArrayList<String>();
      differ(differ, "data", first.data(), other.data());
      differ(differ, "seed", first.training().seed(), other.training().seed());
      differ(differ, "model", first.model(), other.model());
      differ(differ, "dtype", first.dtype(), other.dtype());
      differ(differ, "batch_size", examples(first), examples(other));
      if (!differ.isEmpty()) {
        warnings.add(
            "the recipes differ in %s, so their results do not compare methods alone"
                .formatted(String.join(", ", differ)));
      }
    }
    return warnings.stream().distinct().toList();
  }

  private static long examples(Recipe recipe) {
    return (long) recipe.training().batchSize() * recipe.training().gradientAccumulation();
  }

  private static void differ(List<String> names, String name, Object a, Object b) {
    if (!Objects.equals(a, b)) {
      names.add(name);
    }
  }
}
