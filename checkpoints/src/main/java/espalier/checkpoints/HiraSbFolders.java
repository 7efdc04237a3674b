package espalier.checkpoints;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.hirasb.HiraSbCombination;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** Makes one adapter folder out of several of HiRA-SB, without a model. */
public final class HiraSbFolders {

  private HiraSbFolders() {}

  /**
   * Combines the adapters of folders into a new one whose update is their exact weighted sum.
   *
   * @param how one of the ways of {@link HiraSbCombination}
   * @param out where the combination is written
   * @return the config that was written, of HiRA-SB or of HiRA
   * @throws ConfigException if a source is no HiRA-SB, or they can not be added in this way
   * @throws CheckpointException if a file is missing or broken
   */
  public static AdapterConfig run(
      List<FolderCombination.Source> sources,
      Function<List<HiraSbCombination.Source>, AdapterContents> how,
      Path out,
      AdapterCatalog catalog) {
    try (var _ = Scope.open()) {
      var read = new ArrayList<HiraSbCombination.Source>();
      for (FolderCombination.Source source : sources) {
        read.add(read(source, catalog));
      }
      AdapterContents sum = how.apply(read);
      AdapterFiles.write(sum, out, catalog);
      return sum.config();
    }
  }

  private static HiraSbCombination.Source read(
      FolderCombination.Source source, AdapterCatalog catalog) {
    AdapterConfig config = AdapterFiles.readConfig(source.folder(), catalog).config();
    if (!(config instanceof HiraSbConfig hirasb)) {
      throw new ConfigException(
          "%s is %s but is to be added to adapters of HIRA_SB; export those first with convert --to hira"
              .formatted(source.name(), config.peftType()));
    }
    try (TensorFile file = TensorFile.open(source.folder())) {
      return new HiraSbCombination.Source(hirasb, file.tensors(), source.weight());
    }
  }
}
