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
import tools.jackson.databind.node.ObjectNode;

/** Starts an adapter from data without training it. */
@Command(
    name = "init",
    description = "Start an adapter from data, and save it to train from.",
    footer = {
      "",
      "  espalier init eva --model MODEL --data my.jsonl --out start",
      "  espalier init corda --model MODEL --data my.jsonl --set adapter.r=32 --out start",
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
      paramLabel = "RECIPE",
      description =
          "Says the model, the adapter and the data; its training section is not read. Without one"
              + " --model and --data are needed, and the adapter is on all linear layers, of rank"
              + " 16 and alpha 16 (eva and lora-ga: 32), hira-sb and SHiRA of rank 32; --set"
              + " changes that")
  private @Nullable Path recipe;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "MODEL",
      description = "The model, in the place of the recipe's")
  private @Nullable String model;

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
    if (recipe == null && (model == null || data.isEmpty())) {
      throw new ParameterException(
          spec.commandLine(),
          "the start needs a model and data to look at; give --model and --data, or a --recipe that"
              + " names them");
    }
    Path folder = out.fresh();
    List<String> settings = settings(init, folder);
    Recipe read =
        recipe == null ? RecipeFile.parse(usual(), settings) : RecipeFile.read(recipe, settings);
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

  /** What a recipe would say of the adapter, if there were one. */
  private String usual() {
    ObjectNode usual = Output.row();
    ObjectNode adapter = usual.putObject("adapter").put("target_modules", "all-linear");
    switch (start) {
      case "hira-sb", "shira-gradient", "shira-snip" -> adapter.put("r", 32);
      case "corda" -> adapter.put("peft_type", "LORA").put("r", 16).put("lora_alpha", 16);
      default -> adapter.put("peft_type", "LORA").put("r", 16).put("lora_alpha", 32);
    }
    return usual.toString();
  }

  private List<String> settings(List<String> init, Path folder) {
    var settings = new ArrayList<>(overrides.values());
    init.forEach(setting -> settings.add("adapter." + setting));
    // Nothing of a run is to be found there, which would be gone on with.
    settings.add("output=" + quoted(folder.toString()));
    if (model != null) {
      settings.add("model=" + quoted(model));
    }
    if (!data.isEmpty()) {
      settings.add(
          data.stream()
              .map(InitCommand::quoted)
              .collect(Collectors.joining(", ", "data.train=[", "]")));
    }
    if (examples != null) {
      settings.add("data.start_examples=" + examples);
    }
    return settings;
  }

  // As YAML needs it, whatever the path has in it.
  private static String quoted(String text) {
    return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }
}
