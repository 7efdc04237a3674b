package espalier.recipes;

import espalier.adapters.SaveStart;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.nn.Scope;
import espalier.training.Optimizer;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The folder of a run. A checkpoint is made beside its place and renamed into it when it is whole,
 * so a run that is killed at any moment finds only whole ones.
 *
 * @see WholeFolders
 */
final class RunFolder {

  private static final String PREFIX = "step-";
  private static final String RECIPE = "recipe.yaml";

  private final Path folder;
  private final @Nullable Collective ranks;

  /** The folder of a run that this process does alone. */
  RunFolder(Path folder) {
    this(folder, null);
  }

  /**
   * The folder of a run.
   *
   * @param ranks those who compute the model together, of whom rank 0 writes; or null
   */
  RunFolder(Path folder, @Nullable Collective ranks) {
    this.folder = folder;
    this.ranks = ranks;
  }

  /** Has one process do something, while the others, if there are any, wait for it. */
  void once(Runnable body) {
    if (ranks == null) {
      body.run();
    } else {
      ranks.first(body);
    }
  }

  /** Makes the folder, if it is not there yet, and mends what a killed run left in it. */
  void create() {
    AtomicFiles.createFolder(checkpoints());
    recover();
  }

  /** Puts back what had stepped aside when the run was killed. */
  void recover() {
    WholeFolders.recover(checkpoints());
  }

  /**
   * Makes the folder that of a recipe's run, and writes the recipe down.
   *
   * @param resume whether to go on with the run that is here
   * @throws RecipeException if there is one and {@code resume} is false, or it was of another
   *     recipe
   */
  void claim(Recipe recipe, boolean resume) {
    once(() -> claimAlone(ResolvedRecipe.yaml(recipe), resume));
  }

  private void claimAlone(String resolved, boolean resume) {
    recover();
    if (!resume && used()) {
      throw new RecipeException(
          "%s holds a run already; add --resume to go on with it, or choose another output"
              .formatted(folder));
    }
    String before = read(RECIPE);
    if (resume && before != null && used()) {
      ResolvedRecipe.requireSame(before, resolved);
    }
    create();
    AtomicFiles.write(file(RECIPE), resolved);
  }

  Path path() {
    return folder;
  }

  Path file(String name) {
    return folder.resolve(name);
  }

  private Path checkpoints() {
    return folder.resolve("checkpoints");
  }

  /** Whether a run has left something here that a new one would lose. */
  boolean used() {
    return newest() != null || Files.exists(best()) || Files.exists(file(AdapterFiles.TENSORS));
  }

  /** The steps of the checkpoints that are there. */
  private NavigableMap<Integer, Path> steps() {
    var found = new TreeMap<Integer, Path>();
    if (!Files.isDirectory(checkpoints())) {
      return found;
    }
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(checkpoints(), PREFIX + "*")) {
      for (Path entry : entries) {
        String number = entry.getFileName().toString().substring(PREFIX.length());
        if (number.matches("\\d{1,9}")) {
          found.put(Integer.parseInt(number), entry);
        }
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be listed".formatted(checkpoints()), e);
    }
    return found;
  }

  /** The newest checkpoint, or null if there is none. */
  @Nullable Path newest() {
    var newest = steps().lastEntry();
    return newest == null ? null : newest.getValue();
  }

  /** Writes a checkpoint, the same one however many ranks there are. */
  void save(
      PretrainedModel model,
      String adapter,
      Optimizer optimizer,
      TrainingState state,
      int examples) {
    Path target = checkpoints().resolve(PREFIX + state.step());
    Path part = checkpoints().resolve("." + PREFIX + state.step() + ".part");
    once(() -> WholeFolders.delete(part));
    model.saveAdapter(adapter, part, SaveStart.AS_TRAINED);
    try (var _ = Scope.open()) {
      Map<String, Tensor> remembered =
          OptimizerParts.whole(optimizer.state(), model.adapters().shards());
      once(
          () -> {
            new RunCheckpoint(part).complete(model.adapters(), remembered, state, examples);
            WholeFolders.replace(part, target);
          });
    }
  }

  /** Deletes all but the newest checkpoints; 0 keeps all. */
  void keep(int newest) {
    once(() -> deleteOlder(newest));
  }

  private void deleteOlder(int newest) {
    NavigableMap<Integer, Path> steps = steps();
    while (newest > 0 && steps.size() > newest) {
      WholeFolders.discard(steps.pollFirstEntry().getValue());
    }
  }

  /**
   * Puts the newest checkpoint back into model and optimizer.
   *
   * @throws IllegalStateException if the adapter's start takes something out of the base, and the
   *     run began on another base
   */
  TrainingState resume(PretrainedModel model, String adapter, Optimizer optimizer, int examples) {
    Path checkpoint = newest();
    return checkpoint == null
        ? TrainingState.START
        : new RunCheckpoint(checkpoint).resume(model, adapter, optimizer, examples);
  }

  /** Keeps the adapter as it is now as the best so far. */
  void best(PretrainedModel model, String adapter) {
    Path part = checkpoints().resolve(".best.part");
    once(() -> WholeFolders.delete(part));
    model.saveAdapter(adapter, part, SaveStart.AS_TRAINED);
    once(() -> WholeFolders.replace(part, best()));
  }

  /** The folder of the best adapter, which may not be there. */
  Path best() {
    return checkpoints().resolve("best");
  }

  /** Puts the best adapter back, if one was kept. */
  void restoreBest(PretrainedModel model, String adapter) {
    if (Files.isDirectory(best())) {
      new RunCheckpoint(best()).putAdapter(model.adapters(), adapter);
    }
  }

  /** The text of a file, or null if it is not there. */
  @Nullable String read(String name) {
    try {
      return Files.exists(file(name)) ? Files.readString(file(name)) : null;
    } catch (IOException e) {
      throw new CheckpointException("%s can not be read".formatted(file(name)), e);
    }
  }
}
