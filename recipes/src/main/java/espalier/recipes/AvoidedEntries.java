package espalier.recipes;

import espalier.adapters.AdapterConfig;
import espalier.adapters.shira.ShiraConfig;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * The adapters whose entries the recipe's SHiRA adapter leaves out, {@code
 * mask_options.non_overlap_with}: folders of other runs, on the model until this is closed.
 */
final class AvoidedEntries implements AutoCloseable {

  private final PretrainedModel model;
  private final Consumer<String> progress;
  private final List<String> names = new ArrayList<>();

  private AvoidedEntries(PretrainedModel model, Consumer<String> progress) {
    this.model = model;
    this.progress = progress;
  }

  /**
   * Puts them on the model.
   *
   * @param progress told, line by line, what is fetched
   * @throws RecipeException if a folder has no adapter, or one of another method
   */
  static AvoidedEntries of(AdapterConfig config, PretrainedModel model, Consumer<String> progress) {
    var avoided = new AvoidedEntries(model, progress);
    if (config instanceof ShiraConfig shira) {
      try {
        shira.nonOverlapWith().forEach(avoided::load);
      } catch (RuntimeException e) {
        avoided.close();
        throw e;
      }
    }
    return avoided;
  }

  private void load(String folder) {
    Path path = found(folder);
    if (!Files.exists(path.resolve(AdapterFiles.CONFIG))) {
      throw new RecipeException(
          "adapter.mask_options.non_overlap_with has %s, where there is no %s; name the folders of adapters"
              .formatted(folder, AdapterFiles.CONFIG));
    }
    AdapterConfig config = AdapterFiles.readConfig(path, model.catalog()).config();
    if (!(config instanceof ShiraConfig)) {
      throw new RecipeException(
          "adapter.mask_options.non_overlap_with has %s, which is %s and may change every entry; name SHIRA adapters"
              .formatted(folder, config.peftType()));
    }
    String name = "avoided" + names.size();
    model.loadAdapter(name, path);
    names.add(name);
  }

  private Path found(String folder) {
    try {
      return AdapterSource.parse(folder).resolve(progress);
    } catch (IllegalArgumentException | CheckpointException e) {
      throw new RecipeException(
          "adapter.mask_options.non_overlap_with has %s: %s".formatted(folder, e.getMessage()), e);
    }
  }

  /** The recipe's config with the names that these adapters have on the model. */
  AdapterConfig config(AdapterConfig given) {
    return given instanceof ShiraConfig shira
        ? shira.withNonOverlapWith(names.toArray(String[]::new))
        : given;
  }

  /** Whether a sentence is about these adapters beside the new one, which are there on purpose. */
  boolean named(String sentence) {
    return !names.isEmpty() && sentence.contains(names.toString());
  }

  @Override
  public void close() {
    names.forEach(model.adapters()::delete);
  }
}
