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
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What came of one recipe.
 *
 * @param name what the recipe is called
 * @param method its {@code peft_type}
 * @param parameters trained numbers
 * @param steps optimizer steps
 * @param lossBefore evaluation loss before training, nats per token
 * @param loss evaluation loss at the end
 * @param tokenAccuracy part of the evaluation's tokens that are most likely to the model, at the
 *     end
 * @param seconds of training, evaluations included
 * @param peakBytes the most memory the process held from loading the model on
 * @param adapter the adapter's file
 * @param recipe what was done, as the run's folder keeps it
 */
record ComparedRun(
    String name,
    String method,
    long parameters,
    int steps,
    double lossBefore,
    double loss,
    double tokenAccuracy,
    double seconds,
    long peakBytes,
    String adapter,
    String recipe) {

  /**
   * Trains a recipe and closes all that it needed.
   *
   * @param resume whether to go on with a run that broke off; its time counts from there
   */
  static ComparedRun of(String name, Recipe recipe, boolean resume, Output output) {
    Memory.resetPeak();
    try (var listener = new TerminalListener(output, false, 0);
        var run = TrainingRun.open(recipe, listener, output::note)) {
      TrainCommand.facts(run).forEach(output::note);
      var adapters = run.model().adapters();
      long parameters = adapters.parameters().values().stream().mapToLong(Tensor::numel).sum();
      long start = System.nanoTime();
      TrainingState end = run.train(resume);
      double seconds = (System.nanoTime() - start) / 1e9;
      listener.finish();
      // A run that was resumed has looked before, and perhaps only then; its log knows all of it.
      List<EvalMetrics> evals = run.history().evals();
      // The best adapter of a run that stops early is not the last one that was looked at.
      boolean last = recipe.training().earlyStopping() == null && !evals.isEmpty();
      EvalMetrics after = last ? evals.getLast() : run.evaluate();
      return new ComparedRun(
          name,
          adapters.config(TrainingRun.ADAPTER).peftType(),
          parameters,
          end.step(),
          evals.isEmpty() ? Double.NaN : evals.getFirst().loss(),
          after.loss(),
          after.tokenAccuracy(),
          seconds,
          Memory.peakBytes(),
          run.adapterFile().toString(),
          recipe.resolved());
    }
  }

  /** What {@link #kept} wrote. */
  static ComparedRun of(JsonNode kept) {
    return new ComparedRun(
        kept.path("recipe").asString(),
        kept.path("method").asString(),
        kept.path("trainable_parameters").asLong(),
        kept.path("steps").asInt(),
        kept.path("eval_loss_before").asDouble(),
        kept.path("eval_loss").asDouble(),
        kept.path("token_accuracy").asDouble(),
        kept.path("seconds").asDouble(),
        kept.path("peak_mb").asLong() * 1_000_000,
        kept.path("adapter").asString(),
        kept.path("resolved").asString());
  }

  /** The row with what is needed to find the run again. */
  ObjectNode kept() {
    return row().put("adapter", adapter).put("resolved", recipe);
  }

  ObjectNode row() {
    return Output.row()
        .put("recipe", name)
        .put("method", method)
        .put("trainable_parameters", parameters)
        .put("steps", steps)
        .put("eval_loss_before", lossBefore)
        .put("eval_loss", loss)
        .put("token_accuracy", tokenAccuracy)
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
              run.lossBefore,
              run.loss,
              run.tokenAccuracy,
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
