package espalier.checkpoints;

import espalier.adapters.ConfigException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationReport;
import espalier.adapters.combine.Combined;
import espalier.adapters.combine.Combining;
import espalier.adapters.combine.Masks;
import espalier.adapters.combine.WeightedAdapter;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Makes one adapter folder out of several, without a model. */
public final class FolderCombination {

  /**
   * An adapter's folder and how much of it is wanted.
   *
   * @param name what messages call it
   * @param folder where it lies
   * @param weight factor on its update, also negative or 0
   */
  public record Source(String name, Path folder, double weight) {}

  private FolderCombination() {}

  /**
   * Combines the adapters of folders into a new one.
   *
   * @param masks what is kept where entries are dropped at random
   * @param out where the combination is written
   * @throws ConfigException if settings, ranks or targets do not go together
   * @throws UnsupportedAdapterException if a source is no plain LoRA, or was trained on another
   *     base than the model's own
   * @throws CheckpointException if a file is missing or broken
   */
  public static CombinationReport run(
      List<Source> sources, Combination how, Masks masks, Path out, AdapterCatalog catalog) {
    try (var _ = Scope.open()) {
      var adapters = new ArrayList<WeightedAdapter>();
      for (Source source : sources) {
        AdapterCatalog.Read read = AdapterFiles.readConfig(source.folder(), catalog);
        try (TensorFile file = TensorFile.open(source.folder())) {
          adapters.add(
              new WeightedAdapter(source.name(), read.config(), file.tensors(), source.weight()));
        }
      }
      Combined combined = Combining.combine(adapters, how, masks);
      AdapterFiles.write(combined.contents(), out, catalog);
      return combined.report();
    }
  }
}
