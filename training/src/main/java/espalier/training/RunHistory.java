package espalier.training;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * What a run has done so far.
 *
 * @param steps in their order
 * @param evals in their order
 */
public record RunHistory(List<StepMetrics> steps, List<EvalMetrics> evals) {

  public RunHistory {
    steps = List.copyOf(steps);
    evals = List.copyOf(evals);
  }

  /**
   * Reads what {@link RunLog} wrote; a line that is not whole is passed over, since a run may be
   * writing it. The file does not say how long the run was to be, so {@code totalSteps} is the last
   * step in it.
   */
  public static RunHistory read(Path metrics) throws IOException {
    var lines = new ArrayList<JsonNode>();
    for (String line : Files.readAllLines(metrics)) {
      try {
        lines.add(JsonMapper.shared().readTree(line));
      } catch (JacksonException notWhole) {
        // the tail of a run that was killed, or is running
      }
    }
    int last = lines.stream().mapToInt(line -> line.path("step").asInt(0)).max().orElse(0);
    return new RunHistory(
        lines.stream().filter(line -> line.has("loss")).map(line -> step(line, last)).toList(),
        lines.stream().filter(line -> line.has("eval_loss")).map(RunHistory::eval).toList());
  }

  /** Labelled tokens of all steps. */
  public long tokens() {
    return steps.stream().mapToLong(StepMetrics::tokens).sum();
  }

  /** The highest peak of memory of any step, in bytes; 0 without steps. */
  public long peakMemoryBytes() {
    return steps.stream().mapToLong(StepMetrics::peakMemoryBytes).max().orElse(0);
  }

  /** The loss at the end of the run, nats per token, smoothed as in the plots. */
  public OptionalDouble finalLoss() {
    double[] smooth = Smoothing.of(steps.stream().mapToDouble(StepMetrics::loss).toArray());
    return smooth.length == 0
        ? OptionalDouble.empty()
        : OptionalDouble.of(smooth[smooth.length - 1]);
  }

  private static StepMetrics step(JsonNode line, int totalSteps) {
    return new StepMetrics(
        line.path("step").asInt(0),
        totalSteps,
        number(line, "loss"),
        number(line, "learning_rate"),
        number(line, "grad_norm"),
        line.path("tokens").asLong(0),
        number(line, "tokens_per_second"),
        line.path("peak_memory_bytes").asLong(0));
  }

  private static EvalMetrics eval(JsonNode line) {
    return new EvalMetrics(
        line.path("step").asInt(0),
        number(line, "eval_loss"),
        number(line, "token_accuracy"),
        line.path("eval_tokens").asLong(0));
  }

  private static double number(JsonNode line, String name) {
    return line.path(name).asDouble(Double.NaN);
  }
}
