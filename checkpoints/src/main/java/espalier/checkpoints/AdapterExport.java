package espalier.checkpoints;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;

/** Makes an adapter folder one of another method that computes the same, without a model. */
public final class AdapterExport {

  private AdapterExport() {}

  /**
   * Writes the adapter anew.
   *
   * @param folder the adapter's folder
   * @param method the other method's name in files, such as {@code HIRA} for an adapter of HiRA-SB
   * @param out where the other adapter is written
   * @return warnings
   * @throws ConfigException if the adapter has no such form
   * @throws CheckpointException if a file is missing or broken
   */
  public static List<String> run(Path folder, String method, Path out, AdapterCatalog catalog) {
    AdapterCatalog.Read read = AdapterFiles.readConfig(folder, catalog);
    try (TensorFile file = TensorFile.open(folder);
        var _ = Scope.open()) {
      AdapterContents contents = read.config().exportedAs(method, file.tensors());
      AdapterFiles.write(contents, out, catalog);
    }
    return List.copyOf(read.warnings());
  }
}
