package espalier.cli;

import espalier.adapters.MergeResult;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import espalier.recipes.Quantize;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Makes a model out of a model and an adapter. */
@Command(
    name = "merge",
    description = "Merge an adapter into its model: a folder that needs no adapter any more.")
final class MergeCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = {"-m", "--model"},
      required = true,
      paramLabel = "MODEL",
      description = "A model folder, FILE.gguf, hub:org/name[@revision], or pip:package==version")
  private String model = "";

  @Option(
      names = {"-a", "--adapter"},
      required = true,
      paramLabel = "DIR",
      description = "The adapter's folder")
  private Path adapter = Path.of("");

  @Option(
      names = {"-o", "--out"},
      required = true,
      paramLabel = "DIR",
      description = "The new model's folder; it must be empty, or not there yet")
  private Path out = Path.of("");

  @Option(names = "--safe", description = "Refuse a merged weight that is not finite")
  private boolean safe;

  @Option(
      names = "--dtype",
      converter = DtypeConverter.class,
      completionCandidates = DtypeConverter.class,
      paramLabel = "DTYPE",
      defaultValue = "f32",
      description = "Dtype of the result: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE})")
  private BaseDtype dtype = BaseDtype.F32;

  @Option(
      names = "--quantize",
      converter = QuantizeConverter.class,
      completionCandidates = QuantizeConverter.class,
      paramLabel = "FORM",
      defaultValue = "none",
      description =
          "How the weights of linear layers are held: ${COMPLETION-CANDIDATES}; keep is a GGUF"
              + " file's own blocks (default ${DEFAULT-VALUE})")
  private Quantize quantize = Quantize.NONE;

  @Option(
      names = "--dequantize",
      description =
          "Merge into the values that the quantised weights stand for, and round to the dtype"
              + " alone")
  private boolean dequantize;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    FreshFolder.require(out);
    AdapterFiles.readConfig(adapter, AdapterCatalog.standard());
    try (var loaded =
        PretrainedModel.load(model, dtype.type(), quantize.quantisation(), output::note)) {
      loaded.loadAdapter("default", adapter).warnings().forEach(output::note);
      if (dequantize) {
        loaded.dequantise();
      }
      MergeResult merged = loaded.adapters().mergeAndUnload(List.of("default"), safe);
      merged.warnings().forEach(output::note);
      for (List<String> group : merged.untied()) {
        output.note("no longer one weight: " + String.join(", ", group));
      }
      loaded.save(out, null);
    }
    output.line("model: " + out);
    return 0;
  }
}
