package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** The one adapter that a command works on. */
final class AdapterOption {

  /** What it is called in this process. */
  static final String NAME = "default";

  @Option(
      names = {"-a", "--adapter"},
      required = true,
      paramLabel = "DIR",
      description = "The adapter's folder")
  private Path folder = Path.of("");

  /** Reads its config alone, so that a wrong one is told before a model is fetched. */
  void check() {
    AdapterFiles.readConfig(folder, AdapterCatalog.standard());
  }

  /** Puts it on a model. */
  void load(PretrainedModel model, Output output) {
    model.loadAdapter(NAME, folder).warnings().forEach(output::note);
  }
}
