package espalier.cli;

import espalier.adapters.kappa.Kappa;
import espalier.adapters.kappa.KappaChoice;
import espalier.adapters.kappa.KappaOptions;
import espalier.adapters.kappa.KappaTargets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Chooses layers by their condition numbers. */
@Command(
    name = "kappa",
    description = "Choose layers to adapt by their condition numbers (KappaTune).",
    footer = {
      "",
      "  espalier kappa --model MODEL --top-p 0.2",
      "",
      "The last lines are keys for a recipe's adapter section."
    })
final class KappaCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOption model = new ModelOption();

  @Option(
      names = "--num-modules",
      paramLabel = "N",
      description = "Take so many layers; goes before --top-p and --threshold")
  private @Nullable Integer numModules;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      description = "Take this part of the layers (default 0.2); goes before --threshold")
  private @Nullable Double topP;

  @Option(
      names = "--threshold",
      paramLabel = "K",
      description = "Take the layers whose condition number is at most K")
  private @Nullable Double threshold;

  @Option(
      names = "--max-dim",
      paramLabel = "N",
      description = "Pass over weights with a longer side (default ${DEFAULT-VALUE})")
  private long maxDim = 16384;

  @Option(
      names = "--exclude-output-head",
      description = "Pass over the output head, which often wins")
  private boolean excludeOutputHead;

  @Option(names = "--conv1d", description = "Take GPT-2's Conv1D layers for linear ones")
  private boolean conv1d;

  @Option(names = "--json", description = "Print one JSON object a line")
  private boolean json;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    try (var loaded = model.load(output)) {
      KappaOptions options =
          KappaOptions.defaults()
              .withMaxDim(maxDim)
              .withExcludeOutputHead(excludeOutputHead)
              .withConv1d(conv1d);
      var kappa = new Kappa(loaded.model(), loaded.adapters().facts(), options);
      KappaTargets chosen = kappa.select(choice());
      output.table(rows(kappa, chosen), json);
      write(output, chosen);
    }
    return 0;
  }

  private KappaChoice choice() {
    if (numModules != null) {
      return new KappaChoice.Count(numModules);
    }
    if (topP != null) {
      return new KappaChoice.Part(topP);
    }
    return threshold == null ? new KappaChoice.Part(0.2) : new KappaChoice.Threshold(threshold);
  }

  private static List<ObjectNode> rows(Kappa kappa, KappaTargets chosen) {
    var rows = new ArrayList<ObjectNode>();
    kappa.modules().forEach(m -> rows.add(row(m, "linear", Set.copyOf(chosen.modules()))));
    kappa.parameters().forEach(m -> rows.add(row(m, "experts", Set.copyOf(chosen.parameters()))));
    return rows;
  }

  private static ObjectNode row(Kappa.Measured measured, String kind, Set<String> chosen) {
    return Output.row()
        .put("layer", measured.path())
        .put("kind", kind)
        .put("kappa", measured.kappa())
        .put("chosen", chosen.contains(measured.path()));
  }

  private void write(Output output, KappaTargets chosen) {
    ObjectNode keys = Output.row();
    list(keys.putArray("target_modules"), chosen.modules());
    if (!chosen.parameters().isEmpty()) {
      list(keys.putArray("target_parameters"), chosen.parameters());
    }
    if (json) {
      output.json(keys);
      return;
    }
    keys.properties().forEach(key -> output.line(key.getKey() + ": " + key.getValue()));
  }

  private static void list(ArrayNode array, List<String> paths) {
    paths.forEach(array::add);
  }
}
