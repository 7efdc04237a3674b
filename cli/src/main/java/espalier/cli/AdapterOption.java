package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
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
      converter = AdapterSourceConverter.class,
      paramLabel = "ADAPTER",
      description = "The adapter's folder, or hub:org/name[/sub/folder][@revision]")
  private AdapterSource source = new AdapterSource.Folder(Path.of(""));

  /**
   * Its folder, fetched if need be. Its config is read too, so that a wrong one is told before a
   * model is fetched.
   */
  Path folder(Output output) {
    Path folder = source.resolve(output::note);
    AdapterFiles.readConfig(folder, AdapterCatalog.standard());
    return folder;
  }

  /** Puts what lies in its folder on a model. */
  static void load(PretrainedModel model, Path folder, Output output) {
    model.loadAdapter(NAME, folder).warnings().forEach(output::note);
  }
}
