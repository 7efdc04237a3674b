package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.nn.Native;
import espalier.recipes.BaseDtype;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options of commands that load a model, with adapters perhaps. */
final class ModelOptions {

  @Mixin private ModelOption model = new ModelOption();

  @Option(
      names = "--dtype",
      converter = AutoDtypeConverter.class,
      completionCandidates = AutoDtypeConverter.class,
      paramLabel = "DTYPE",
      defaultValue = "auto",
      description =
          "Dtype of the model: ${COMPLETION-CANDIDATES}; auto is bf16, or f32 on a processor that"
              + " has no instructions for bf16; adapters are float32 (default ${DEFAULT-VALUE})")
  private BaseDtype dtype = BaseDtype.BF16;

  @Mixin private QuantizeOption quantize = new QuantizeOption();

  @Option(
      names = {"-a", "--adapter"},
      converter = NamedAdapter.Converter.class,
      paramLabel = "[NAME=]ADAPTER",
      description =
          "An adapter's folder, or hub:org/name[/sub/folder][@revision]; give it again for more,"
              + " with a name each. The first one is active")
  private List<NamedAdapter> adapters = new ArrayList<>();

  @Mixin private ThreadsOption threads = new ThreadsOption();

  /**
   * Loads what the options name, ready to answer; the caller closes it. In one of several ranks it
   * is this rank's part.
   */
  PretrainedModel load(Output output) {
    Collective ranks = RankCommand.ranks();
    int wanted = threads.number() != 0 || ranks == null ? threads.number() : ranks.shareOfCores();
    if (wanted != 0) {
      Native.threads(wanted);
    }
    // Adapters first: their names are quick to check, and a model may take long to fetch.
    List<Path> folders =
        adapters.stream().map(adapter -> adapter.source().resolve(output::note)).toList();
    folders.forEach(folder -> AdapterFiles.readConfig(folder, AdapterCatalog.standard()));
    PretrainedModel loaded = model.load(dtype, quantize.form(), output);
    try {
      if (ranks != null) {
        folders.forEach(loaded::adoptTokens); // a model that is split can not grow
        loaded.model().parallelPlan(ranks.size()).apply(loaded.model(), ranks);
      }
      loaded.adapters().allowMixedMethods();
      for (int i = 0; i < folders.size(); i++) {
        String name = adapters.get(i).name();
        loaded.loadAdapter(name, folders.get(i)).warnings().forEach(output::note);
      }
      loaded.model().train(false);
      return loaded;
    } catch (RuntimeException | Error e) {
      loaded.close();
      throw e;
    }
  }
}
