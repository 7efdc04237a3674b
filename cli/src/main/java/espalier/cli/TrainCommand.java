package espalier.cli;

import espalier.nn.Collective;
import espalier.recipes.Quantize;
import espalier.recipes.Recipe;
import espalier.recipes.RecipeFile;
import espalier.recipes.TrainingRun;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Fine-tunes as a recipe says. */
@Command(
    name = "train",
    description = "Fine-tune as a recipe says.",
    footer = {
      "",
      "A run that was killed goes on with --resume and ends with the same adapter.",
      "With training.tensor_parallel above 1 as many processes compute the model together.",
      "  espalier train recipe.yaml --set training.steps=20 --set output=runs/short"
    })
final class TrainCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(paramLabel = "RECIPE", description = "A YAML or JSON file")
  private Path recipe = Path.of("recipe.yaml");

  @Mixin private Overrides overrides = new Overrides();

  @Option(
      names = "--quantize",
      converter = QuantizeConverter.class,
      completionCandidates = QuantizeConverter.class,
      paramLabel = "FORM",
      description = "The same as --set quantize=FORM: ${COMPLETION-CANDIDATES}")
  private @Nullable Quantize quantize;

  @Option(names = "--resume", description = "Go on where a killed run stopped")
  private boolean resume;

  @Option(names = "--quiet", description = "Show warnings and the result only")
  private boolean quiet;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    var all = new ArrayList<>(overrides.values());
    if (quantize != null) {
      all.add("quantize=" + quantize.key());
    }
    Recipe read = RecipeFile.read(recipe, all);
    int size = read.training().tensorParallel();
    Collective ranks = RankCommand.ranks();
    if (size > 1 && ranks == null) {
      return new LocalRanks(output, size, "go on from the last checkpoint with --resume")
          .run(Main.arguments(spec));
    }
    try (var listener = new TerminalListener(output, quiet, 0);
        var run = TrainingRun.open(read, listener, quiet ? _ -> {} : output::note, ranks)) {
      if (!quiet) {
        facts(run).forEach(output::note);
      }
      run.train(resume);
      listener.finish();
      output.line("adapter: " + run.adapterFile());
      output.line("picture: " + run.folder().resolve("loss.png"));
      output.line("report:  " + run.folder().resolve("report.html"));
    }
    return 0;
  }

  /** What a run is about to do, a line each. */
  static List<String> facts(TrainingRun run) {
    var data = run.data();
    return List.of(
        run.model().adapters().trainableLine(),
        "%,d examples, %,d tokens, of which %,d are learned"
            .formatted(data.examples().size(), data.tokens(), data.labelled()));
  }
}
