package espalier.training;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.text.WholeFile;
import espalier.training.Series.Point;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.ToDoubleFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import tools.jackson.databind.json.JsonMapper;

/**
 * The page about a run: one file that needs no network and no server, for a light or a dark screen.
 *
 * @param title of the page, such as the name of the run's folder
 * @param recipe the recipe as resolved; empty to leave it out
 * @param facts about the run, such as the model and the trainable parameters, in order
 * @param machine what it ran on, mostly {@link Machine#facts()}
 * @param samples answers before and after; empty to leave them out
 */
public record Report(
    String title,
    RunHistory history,
    String recipe,
    Map<String, String> facts,
    Map<String, String> machine,
    List<Sample> samples) {

  private static final Pattern PLACE = Pattern.compile("@(\\w+)@");

  public Report {
    facts = Collections.unmodifiableMap(new LinkedHashMap<>(facts)); // Map.copyOf loses the order
    machine = Collections.unmodifiableMap(new LinkedHashMap<>(machine));
    samples = List.copyOf(samples);
  }

  /** Writes the page, whole or not at all. */
  public void write(Path file) throws IOException {
    WholeFile.write(file, html());
  }

  /** The page. */
  public String html() {
    List<SvgChart> charts = charts();
    Map<String, String> parts =
        Map.of(
            "title", Html.escaped(title),
            "style", resource("report.css"),
            "script", resource("report.js"),
            "tiles", tiles(),
            "charts", charts.stream().map(SvgChart::html).collect(Collectors.joining()),
            "data", data(charts),
            "samples", samplesTable(),
            "facts", table("Run", facts) + table("Machine", machine),
            "evals", evalTable(),
            "recipe", recipePart());
    // In one pass, so that an '@title@' within a sample stays what it is.
    return PLACE
        .matcher(resource("report.html"))
        .replaceAll(
            place -> Matcher.quoteReplacement(Objects.requireNonNull(parts.get(place.group(1)))));
  }

  private List<SvgChart> charts() {
    List<StepMetrics> steps = history.steps();
    double[] smooth = Smoothing.of(steps.stream().mapToDouble(StepMetrics::loss).toArray());
    Series smoothed =
        Series.of(
            "smoothed",
            "smooth",
            false,
            IntStream.range(0, smooth.length)
                .mapToObj(i -> new Point(steps.get(i).step(), smooth[i]))
                .toList());
    Series evals =
        Series.of(
            "eval",
            "eval",
            true,
            history.evals().stream().map(eval -> new Point(eval.step(), eval.loss())).toList());
    return List.of(
        new SvgChart(
            "loss",
            "Loss, nats per token",
            false,
            Stream.of(steps("train", "raw", StepMetrics::loss), smoothed, evals)),
        new SvgChart(
            "rate",
            "Learning rate",
            true,
            Stream.of(steps("learning rate", "smooth", StepMetrics::learningRate))),
        new SvgChart(
            "norm",
            "Norm of the gradient, before clipping",
            true,
            Stream.of(steps("norm", "smooth", StepMetrics::gradNorm))),
        new SvgChart(
            "speed",
            "Tokens per second",
            true,
            Stream.of(steps("tokens per second", "smooth", StepMetrics::tokensPerSecond))),
        new SvgChart(
            "memory",
            "Peak memory, GiB",
            true,
            Stream.of(steps("GiB", "smooth", step -> step.peakMemoryBytes() / 0x1p30))));
  }

  private Series steps(String name, String style, ToDoubleFunction<StepMetrics> value) {
    return Series.of(
        name,
        style,
        false,
        history.steps().stream()
            .map(step -> new Point(step.step(), value.applyAsDouble(step)))
            .toList());
  }

  private String tiles() {
    var tiles = new LinkedHashMap<String, String>();
    List<StepMetrics> steps = history.steps();
    List<EvalMetrics> evals = history.evals();
    tiles.put(
        "steps", String.format(Locale.ROOT, "%,d", steps.isEmpty() ? 0 : steps.getLast().step()));
    history
        .finalLoss()
        .ifPresent(
            loss -> tiles.put("train loss, smoothed", String.format(Locale.ROOT, "%.4f", loss)));
    if (!evals.isEmpty()) {
      String last = String.format(Locale.ROOT, "%.4f", evals.getLast().loss());
      String first = String.format(Locale.ROOT, "%.4f", evals.getFirst().loss());
      tiles.put("eval loss", evals.size() == 1 ? last : first + " → " + last);
      tiles.put(
          "eval perplexity", String.format(Locale.ROOT, "%.2f", evals.getLast().perplexity()));
      tiles.put(
          "eval token accuracy",
          String.format(Locale.ROOT, "%.1f %%", 100 * evals.getLast().tokenAccuracy()));
    }
    if (!steps.isEmpty()) {
      tiles.put("tokens learned from", String.format(Locale.ROOT, "%,d", history.tokens()));
      tiles.put(
          "tokens per second, median", String.format(Locale.ROOT, "%,.0f", medianSpeed(steps)));
      tiles.put(
          "peak memory",
          String.format(Locale.ROOT, "%.2f GiB", history.peakMemoryBytes() / 0x1p30));
    }
    return tiles.entrySet().stream()
        .map(
            tile -> "<div><b>%s</b><span>%s</span></div>".formatted(tile.getValue(), tile.getKey()))
        .collect(Collectors.joining("\n"));
  }

  private static double medianSpeed(List<StepMetrics> steps) {
    double[] sorted = steps.stream().mapToDouble(StepMetrics::tokensPerSecond).sorted().toArray();
    return sorted[sorted.length / 2];
  }

  private String samplesTable() {
    if (samples.isEmpty()) {
      return "";
    }
    return samples.stream()
        .map(
            sample ->
                "<tr><td>%s</td><td>%s</td><td>%s</td></tr>\n"
                    .formatted(
                        Html.escaped(sample.prompt()),
                        Html.escaped(Objects.requireNonNullElse(sample.before(), "–")),
                        Html.escaped(Objects.requireNonNullElse(sample.after(), "–"))))
        .collect(
            Collectors.joining(
                "",
                """
                <h2>Before and after</h2>
                <div class="wide"><table class="samples">
                <tr><th>prompt</th><th>before</th><th>after</th></tr>
                """,
                "</table></div>\n"));
  }

  private String evalTable() {
    if (history.evals().isEmpty()) {
      return "";
    }
    return history.evals().stream()
        .map(
            eval ->
                String.format(
                    Locale.ROOT,
                    "<tr><td>%,d</td><td>%.4f</td><td>%.2f</td><td>%.1f %%</td><td>%,d</td></tr>\n",
                    eval.step(),
                    eval.loss(),
                    eval.perplexity(),
                    100 * eval.tokenAccuracy(),
                    eval.tokens()))
        .collect(
            Collectors.joining(
                "",
                """
                <h2>Evaluations</h2>
                <div class="wide"><table class="numbers">
                <tr><th>step</th><th>loss</th><th>perplexity</th><th>token accuracy</th><th>tokens</th></tr>
                """,
                "</table></div>\n"));
  }

  private static String table(String heading, Map<String, String> facts) {
    if (facts.isEmpty()) {
      return "";
    }
    return facts.entrySet().stream()
        .map(
            fact ->
                "<tr><th>%s</th><td>%s</td></tr>\n"
                    .formatted(Html.escaped(fact.getKey()), Html.escaped(fact.getValue())))
        .collect(
            Collectors.joining(
                "",
                "<section><h2>" + heading + "</h2>\n<table class=\"facts\">\n",
                "</table></section>\n"));
  }

  private String recipePart() {
    return recipe.isBlank()
        ? ""
        : "<h2>Recipe, as resolved</h2>\n<pre>" + Html.escaped(recipe.strip()) + "</pre>\n";
  }

  /** The numbers behind the charts, for the page's own script. */
  private static String data(List<SvgChart> charts) {
    Map<String, List<Series>> byChart = new LinkedHashMap<>();
    charts.forEach(chart -> byChart.put(chart.id(), chart.series()));
    // '<' cannot stand in a script element: '</script' would end it.
    return JsonMapper.shared().writeValueAsString(byChart).replace("<", "\\u003c");
  }

  private static String resource(String name) {
    try (InputStream in = Report.class.getResourceAsStream(name)) {
      return new String(Objects.requireNonNull(in, name).readAllBytes(), UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
