package espalier.cli;

import espalier.recipes.Recipe;
import espalier.recipes.RecipeFile;
import espalier.recipes.TrainingRun;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Starts an adapter from data without training it. */
@Command(
    name = "init",
    description = "Start an adapter from data, and save it to train from.",
    footer = {
      "",
      "  espalier init eva --recipe recipe.yaml --out start",
      "  espalier init hira-sb --recipe recipe.yaml --data my.jsonl --out start",
      "  espalier init lora-ga --recipe recipe.yaml --data other.jsonl --examples 32 --out start",
      "",
      "To train from it, the recipe says  adapter: {from: start}"
    })
final class InitCommand implements Callable<Integer> {

  /** What the adapter's config says of the start, by the word on the command line. */
  private static final Map<String, List<String>> STARTS =
      Map.of(
          "corda", List.of("init_lora_weights=corda"),
          "eva", List.of("init_lora_weights=eva"),
          "hira-sb", List.of("peft_type=HIRA_SB"),
          "lora-ga", List.of("init_lora_weights=lora_ga"),
          "shira-gradient", List.of("peft_type=SHIRA", "mask_type=gradient"),
          "shira-snip", List.of("peft_type=SHIRA", "mask_type=snip"));

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(
      paramLabel = "START",
      description = "corda, eva, hira-sb, lora-ga, shira-gradient or shira-snip")
  private String start = "";

  @Option(
      names = {"-r", "--recipe"},
      required = true,
      paramLabel = "RECIPE",
      description = "Says the model, the adapter and the data; its training section is not read")
  private Path recipe = Path.of("recipe.yaml");

  @Option(
      names = "--data",
      paramLabel = "FILE",
      description = "Files or globs to look at in the place of the recipe's data.train")
  private List<String> data = new ArrayList<>();

  @Option(
      names = "--examples",
      paramLabel = "N",
      description =
          "How many examples are looked at (default 256, for lora-ga 64, for hira-sb and SHiRA what"
              + " their calibration_batches need)")
  private @Nullable Integer examples;

  @Mixin private OutFolder out = new OutFolder();

  @Mixin private Overrides overrides = new Overrides();

  @Option(names = "--quiet", description = "Show the result only")
  private boolean quiet;

  @Override
  public Integer call() {
    List<String> init = STARTS.get(start);
    if (init == null) {
      throw new ParameterException(
          spec.commandLine(),
          "the start %s is not known; %s are".formatted(start, new TreeSet<>(STARTS.keySet())));
    }
    Output output = Output.of(spec);
    Path folder = out.fresh();
    Recipe read = RecipeFile.read(recipe, settings(init, folder));
    try (var listener = new TerminalListener(output, quiet, 0);
        var run = TrainingRun.open(read, listener, quiet ? _ -> {} : output::note)) {
      if (!quiet) {
        output.note(run.model().adapters().trainableLine());
      }
      run.saveStart(folder);
    }
    output.line("adapter: " + folder);
    return 0;
  }

  private List<String> settings(List<String> init, Path folder) {
    var settings = new ArrayList<>(overrides.values());
    init.forEach(setting -> settings.add("adapter." + setting));
    // Nothing of a run is to be found there, which would be gone on with.
    settings.add("output=\"" + folder.toString().replace("\\", "\\\\") + "\"");
    if (!data.isEmpty()) {
      settings.add(
          data.stream()
              .map(file -> '"' + file.replace("\\", "\\\\") + '"')
              .collect(Collectors.joining(", ", "data.train=[", "]")));
    }
    if (examples != null) {
      settings.add("data.start_examples=" + examples);
    }
    return settings;
  }
}
