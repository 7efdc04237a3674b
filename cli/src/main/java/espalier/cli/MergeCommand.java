package espalier.cli;

import espalier.adapters.MergeOptions;
import espalier.adapters.MergeResult;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
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

  @Mixin private ModelOption model = new ModelOption();

  @Mixin private AdapterOption adapter = new AdapterOption();

  @Mixin private OutFolder out = new OutFolder();

  @Option(names = "--safe", description = "Refuse a merged weight that is not finite")
  private boolean safe;

  @Option(
      names = "--untie",
      description =
          "First give blocks that share their weights, as layer_replication makes them, weights of"
              + " their own; a tied embedding and output head need it not, one that is merged into"
              + " is parted from the other in any case")
  private boolean untie;

  @Mixin private DtypeOption dtype = new DtypeOption();

  @Mixin private QuantizeOption quantize = new QuantizeOption();

  @Option(
      names = "--dequantize",
      description =
          "Merge into the values that the quantised weights stand for, and round to the dtype"
              + " alone")
  private boolean dequantize;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    Path folder = out.fresh();
    Path from = adapter.folder(output);
    try (var loaded = model.load(dtype.dtype(), quantize.form(), output)) {
      AdapterOption.load(loaded, from, output);
      if (dequantize) {
        loaded.dequantise();
      }
      var options = MergeOptions.defaults().withSafe(safe).withUntieReplicas(untie);
      MergeResult merged = loaded.adapters().mergeAndUnload(List.of(AdapterOption.NAME), options);
      merged.warnings().forEach(output::note);
      for (List<String> group : merged.untied()) {
        output.note("no longer one weight: " + String.join(", ", group));
      }
      loaded.save(folder, null);
    }
    output.line("model: " + folder);
    return 0;
  }
}
