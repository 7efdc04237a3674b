package espalier.cli;

import espalier.adapters.combine.IntruderOptions;
import espalier.adapters.combine.IntruderOptions.Meaning;
import espalier.adapters.combine.IntruderReport;
import espalier.adapters.combine.Intruders;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Reduces the intruder dimensions of a LoRA adapter. */
@Command(
    name = "intruders",
    description =
        "Reduce the intruder dimensions of a LoRA adapter: strong directions that its model did not"
            + " know, and with which it forgets.",
    footer = {"", "  espalier intruders --model MODEL --adapter DIR --lambda 0.75 --out reduced"})
final class IntrudersCommand implements Callable<Integer> {

  private static final String REDUCED = "intruder_reduced";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOption model = new ModelOption();

  @Mixin private AdapterOption adapter = new AdapterOption();

  @Mixin private OutFolder out = new OutFolder();

  @Option(
      names = "--top-k",
      paramLabel = "K",
      description = "Look at the K largest singular vectors (default ${DEFAULT-VALUE})")
  private int topK = IntruderOptions.defaults().topK();

  @Option(
      names = "--epsilon",
      paramLabel = "E",
      description =
          "A vector is an intruder if its |cosine| with each of the base's is below E (default"
              + " ${DEFAULT-VALUE})")
  private double epsilon = IntruderOptions.defaults().epsilon();

  @Option(
      names = "--lambda",
      paramLabel = "L",
      description = "A part of each intruder, in [0, 1] (default ${DEFAULT-VALUE})")
  private double lambda = IntruderOptions.defaults().lambda();

  @Option(
      names = "--lambda-means",
      paramLabel = "M",
      description =
          "Whether that part is kept, as PEFT computes, or removed, as its help says (default"
              + " ${DEFAULT-VALUE})")
  private Meaning meaning = IntruderOptions.defaults().meaning();

  @Option(names = "--json", description = "Print one JSON object a layer")
  private boolean json;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    Path folder = out.fresh();
    var options = new IntruderOptions(topK, epsilon, lambda, meaning);
    Path from = adapter.folder(output);
    try (var loaded = model.load(output)) {
      AdapterOption.load(loaded, from, output);
      loaded.adapters().restoreBase(AdapterOption.NAME);
      IntruderReport report =
          Intruders.reduce(loaded.adapters(), AdapterOption.NAME, REDUCED, options);
      report.warnings().forEach(output::note);
      output.table(
          report.intruders().entrySet().stream()
              .map(
                  layer ->
                      Output.row().put("layer", layer.getKey()).put("intruders", layer.getValue()))
              .toList(),
          json);
      loaded.saveAdapter(REDUCED, folder);
    }
    if (json) {
      output.json(Output.row().put("adapter", folder.toString()));
    } else {
      output.line("adapter: " + folder);
    }
    return 0;
  }
}
