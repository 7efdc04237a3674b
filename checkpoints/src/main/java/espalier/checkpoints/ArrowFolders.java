package espalier.checkpoints;

import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.Arrow;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * A router over adapters that lie in folders.
 *
 * <pre>{@code
 * ArrowFolders.create(
 *     model.adapters(),
 *     List.of(Path.of("poems"), Path.of("laws")),
 *     List.of(),
 *     new LoraVariant.Arrow(2, 1, false, 42, null, null));
 * }</pre>
 */
public final class ArrowFolders {

  private ArrowFolders() {}

  /**
   * Loads the folders' adapters and routes over them, as {@link Arrow#create} does.
   *
   * @param tasks folders of the experts, as PEFT writes them
   * @param generals folders of the adapters whose mean is subtracted; only with {@code use_gks}
   * @throws CheckpointException if a folder holds no LoRA adapter
   * @throws IllegalStateException if the start of one takes something out of the base, and this
   *     base is not the one that it was first put on
   */
  public static Arrow create(
      Adapters adapters, List<Path> tasks, List<Path> generals, LoraVariant.Arrow settings) {
    var open = new ArrayList<TensorFile>();
    try (var _ = Scope.open()) {
      List<Arrow.Expert> experts =
          tasks.stream().map(folder -> expert(adapters, folder, open)).toList();
      List<Arrow.Expert> subtracted =
          generals.stream().map(folder -> expert(adapters, folder, open)).toList();
      return Arrow.create(adapters, experts, subtracted, settings, LoadOptions.defaults());
    } finally {
      open.forEach(TensorFile::close);
    }
  }

  /**
   * The same over adapters by the names that a user gave: folders, {@code hub:} or {@code pip:}.
   *
   * @param progress told, line by line, what is fetched
   * @see AdapterSource
   */
  public static Arrow createNamed(
      Adapters adapters,
      List<String> tasks,
      List<String> generals,
      LoraVariant.Arrow settings,
      Consumer<String> progress) {
    return create(adapters, found(tasks, progress), found(generals, progress), settings);
  }

  private static List<Path> found(List<String> names, Consumer<String> progress) {
    return names.stream().map(name -> AdapterSource.parse(name).resolve(progress)).toList();
  }

  private static Arrow.Expert expert(Adapters adapters, Path folder, List<TensorFile> open) {
    var read = AdapterFiles.readConfig(folder, AdapterCatalog.standard());
    if (!(read.config() instanceof LoraConfig config)) {
      throw new CheckpointException(
          "%s holds an adapter of %s but a router sends tokens to LORA; leave it out"
              .formatted(folder, read.config().peftType()));
    }
    PickleRefusal.checkFolder(folder);
    AdapterFiles.requireBase(adapters, folder, config);
    TensorFile file = TensorFile.open(folder);
    open.add(file);
    return new Arrow.Expert(config, file.tensors());
  }
}
