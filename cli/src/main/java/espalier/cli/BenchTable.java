package espalier.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Ours beside the reference: medians over the rounds, and what one is of the other. It is made of
 * the lines of {@code bench --out}, each with the parameters of its measurement and its {@code
 * side}.
 */
final class BenchTable {

  static final String OURS = "ours";
  static final String REFERENCE = "reference";

  private final Map<String, Results> byWork = new LinkedHashMap<>();

  private record Results(String section, List<JsonNode> ours, List<JsonNode> reference) {}

  /** Adds a result, also one that has an {@code error} only. */
  void add(ObjectNode result) {
    Results results =
        byWork.computeIfAbsent(
            work(result), _ -> new Results(section(result), new ArrayList<>(), new ArrayList<>()));
    boolean ours = result.path("side").asString().equals(OURS);
    (ours ? results.ours() : results.reference()).add(result);
  }

  /** Steps over packed rows are what the reference calls quality. */
  private static String section(ObjectNode job) {
    String section = job.path("section").asString();
    return section.equals("quality") ? "packed" : section;
  }

  /** A row for each figure. What one side lacks is named in {@code missing}. */
  List<ObjectNode> rows() {
    boolean beside = byWork.values().stream().anyMatch(results -> !results.reference().isEmpty());
    var rows = new ArrayList<ObjectNode>();
    byWork.forEach(
        (work, results) -> {
          for (BenchFigure figure : BenchFigures.of(results.section())) {
            rows.add(row(work, results, figure, beside));
          }
        });
    return rows;
  }

  private static ObjectNode row(String work, Results results, BenchFigure figure, boolean beside) {
    ObjectNode row = Output.row().put("work", work + ", " + figure.name());
    List<Double> ours = values(results.ours(), figure.ours());
    List<Double> theirs = values(results.reference(), figure.theirs());
    pair(row, ours, theirs, "our_median", "reference_median", "ratio");
    var peak = figure.peak();
    if (peak != null) {
      pair(
          row,
          values(results.ours(), peak),
          values(results.reference(), peak),
          "our_peak_mb",
          "reference_peak_mb",
          "peak_ratio");
    }
    var missing = new ArrayList<String>();
    lacking(OURS, results.ours(), ours, missing);
    if (beside) {
      lacking(REFERENCE, results.reference(), theirs, missing);
    }
    if (!missing.isEmpty()) {
      row.put("missing", String.join("; ", missing));
    }
    return row;
  }

  private static void pair(
      ObjectNode row,
      List<Double> ours,
      List<Double> theirs,
      String our,
      String their,
      String ratio) {
    put(row, our, median(ours));
    put(row, their, median(theirs));
    Double a = median(ours);
    Double b = median(theirs);
    put(row, ratio, a == null || b == null || b == 0 ? null : Double.valueOf(a / b));
  }

  private static void put(ObjectNode row, String key, @Nullable Double value) {
    if (value == null) {
      row.putNull(key);
    } else {
      row.put(key, value.doubleValue());
    }
  }

  private static @Nullable Double median(List<Double> values) {
    return values.isEmpty() ? null : Double.valueOf(Timing.median(values));
  }

  private static List<Double> values(
      List<JsonNode> results, Function<JsonNode, @Nullable Double> reading) {
    return results.stream().map(reading).filter(Objects::nonNull).toList();
  }

  private static void lacking(
      String side, List<JsonNode> results, List<Double> values, List<String> missing) {
    int lacking = results.size() - values.size();
    if (results.isEmpty()) {
      missing.add(side + " (not measured)");
    } else if (lacking > 0) {
      String rounds =
          values.isEmpty() ? "" : " in %d of %d rounds".formatted(lacking, results.size());
      missing.add(
          side + rounds + (results.stream().anyMatch(BenchTable::failed) ? " (error)" : ""));
    }
  }

  private static boolean failed(JsonNode result) {
    return result.has("error");
  }

  /** A measurement in few words, such as {@code train lora bf16 4x256}. */
  static String work(ObjectNode job) {
    var words = new ArrayList<String>();
    words.add(section(job));
    for (String key : List.of("method", "kind", "dtype")) {
      if (job.has(key)) {
        words.add(job.path(key).asString());
      }
    }
    if (job.has("routed")) {
      words.add(job.path("routed").asInt() + " experts");
    }
    if (job.has("size")) {
      words.add(job.path("size").asString() + "x" + job.path("size").asString());
    }
    if (job.has("seq")) {
      words.add(job.path("batch").asInt() + "x" + job.path("seq").asInt());
    } else if (job.has("batch")) {
      words.add(job.path("batch").asInt() + " rows");
    }
    return String.join(" ", words);
  }
}
