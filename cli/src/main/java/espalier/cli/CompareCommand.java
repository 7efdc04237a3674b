package espalier.cli;

import espalier.checkpoints.AtomicFiles;
import espalier.nn.Native;
import espalier.recipes.Recipe;
import espalier.recipes.RecipeFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYSeries.XYSeriesRenderStyle;
import org.knowm.xchart.style.XYStyler;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Trains several recipes and puts their results side by side. */
@Command(
    name = "compare",
    description =
        "Train recipes one after the other: one table and one picture of loss, size, memory, time.")
final class CompareCommand implements Callable<Integer> {

  private static final String KEPT = "compare.json";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(arity = "1..*", paramLabel = "RECIPE", description = "YAML or JSON files")
  private List<Path> recipes = new ArrayList<>();

  @Option(
      names = {"-o", "--out"},
      paramLabel = "DIR",
      defaultValue = "runs/compare",
      description =
          "Where table, picture and runs go; it must be empty, or not there yet (default"
              + " ${DEFAULT-VALUE})")
  private Path out = Path.of("runs/compare");

  @Mixin private Overrides overrides = new Overrides();

  @Option(
      names = "--resume",
      description = "Go on with a comparison that broke off, or add recipes to one")
  private boolean resume;

  @Option(names = "--json", description = "Print one JSON object a recipe")
  private boolean json;

  @Override
  public Integer call() throws IOException {
    Output output = Output.of(spec);
    if (!resume) {
      FreshFolder.require(out);
    }
    Map<String, Recipe> named = named();
    Map<String, ComparedRun> done = done();
    List<String> warnings = ComparedRun.unequal(List.copyOf(named.values()));
    warnings.forEach(output::note);
    Files.createDirectories(out);
    var runs = new ArrayList<ComparedRun>();
    for (var each : named.entrySet()) {
      ComparedRun before = done.get(each.getKey());
      if (before != null && before.recipe().equals(each.getValue().resolved())) {
        runs.add(before);
      } else {
        output.note(each.getKey());
        runs.add(ComparedRun.of(each.getKey(), each.getValue(), resume, output));
        Native.trim(); // otherwise what this run freed would count for the next one
      }
      write(runs, warnings); // each time, so that a run that fails does not take the others along
    }
    output.table(runs.stream().map(ComparedRun::row).toList(), json);
    output.note("table:   " + out.resolve("compare.md"));
    output.note("picture: " + out.resolve("compare.png"));
    return 0;
  }

  private Map<String, ComparedRun> done() throws IOException {
    var done = new LinkedHashMap<String, ComparedRun>();
    Path kept = out.resolve(KEPT);
    if (Files.exists(kept)) {
      for (JsonNode row : JsonMapper.shared().readTree(Files.readAllBytes(kept))) {
        ComparedRun run = ComparedRun.of(row);
        done.put(run.name(), run);
      }
    }
    return done;
  }

  private Map<String, Recipe> named() {
    var named = new LinkedHashMap<String, Recipe>();
    for (Path file : recipes) {
      Recipe recipe = RecipeFile.read(file, overrides.values());
      if (recipe.data().eval().isEmpty() && recipe.data().evalFraction() == 0) {
        throw new IllegalArgumentException(
            "%s has no data to compare on; add data.eval, or --set data.eval_fraction=0.05"
                .formatted(file));
      }
      String stem = String.valueOf(file.getFileName()).replaceFirst("\\.(ya?ml|json)$", "");
      String name = stem;
      for (int number = 2; named.containsKey(name); number++) {
        name = stem + "-" + number;
      }
      named.put(name, recipe.withOutput(out.resolve(name).toString()));
    }
    return named;
  }

  private void write(List<ComparedRun> runs, List<String> warnings) {
    AtomicFiles.write(out.resolve("compare.md"), ComparedRun.markdown(runs, warnings));
    AtomicFiles.write(
        out.resolve(KEPT),
        JsonMapper.shared()
                .writerWithDefaultPrettyPrinter()
                .writeValueAsString(runs.stream().map(ComparedRun::kept).toList())
            + "\n");
    XYChart chart =
        Picture.chart(
            "Eval loss against trained parameters",
            "trainable parameters (millions)",
            "eval loss (nats per token)");
    chart.getStyler().setDefaultSeriesRenderStyle(XYSeriesRenderStyle.Scatter);
    bounds(chart.getStyler(), runs);
    for (ComparedRun run : runs) {
      chart.addSeries(run.name(), new double[] {run.parameters() / 1e6}, new double[] {run.loss()});
    }
    Picture.write(chart, out.resolve("compare.png"));
  }

  // Room around the points: those of the best and the worst would lie on the frame.
  private static void bounds(XYStyler styler, List<ComparedRun> runs) {
    var parameters = runs.stream().mapToDouble(run -> run.parameters() / 1e6).summaryStatistics();
    var losses = runs.stream().mapToDouble(ComparedRun::loss).summaryStatistics();
    boolean wide = parameters.getMin() > 0 && parameters.getMax() > 10 * parameters.getMin();
    styler
        .setXAxisLogarithmic(wide)
        .setXAxisMin(wide ? parameters.getMin() / 1.5 : 0.0)
        .setXAxisMax(parameters.getMax() * (wide ? 1.5 : 1.1));
    double margin = Math.max(0.05, (losses.getMax() - losses.getMin()) / 10);
    styler
        .setYAxisMin(losses.getMin() - margin)
        .setYAxisMax(losses.getMax() + margin)
        .setYAxisDecimalPattern("0.00")
        .setXAxisDecimalPattern("0.0##");
  }
}
