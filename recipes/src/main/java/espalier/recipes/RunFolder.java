package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.SaveStart;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.checkpoints.TensorFile;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Collective;
import espalier.nn.Scope;
import espalier.training.Optimizer;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * The folder of a run. A checkpoint is made beside its place and renamed into it when it is whole,
 * so a run that is killed at any moment finds only whole ones. One that is replaced steps aside
 * first, and comes back if the run is killed before the new one stands in its place.
 */
final class RunFolder {

  private static final String PREFIX = "step-";
  private static final String STATE = "state.json";
  private static final String OPTIMIZER = "optimizer.safetensors";
  private static final String PARAMETERS = "parameters.safetensors";

  /** What stepped aside for another of its name, and is whole. */
  private static final String ASIDE = ".old";

  /** What is being deleted, and may be half gone. */
  private static final String DYING = ".gone";

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
    if (!Files.isDirectory(checkpoints())) {
      return;
    }
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(checkpoints(), ".*" + ASIDE)) {
      for (Path aside : entries) {
        String hidden = aside.getFileName().toString();
        Path place = aside.resolveSibling(hidden.substring(1, hidden.length() - ASIDE.length()));
        if (Files.exists(place)) {
          delete(aside);
        } else {
          AtomicFiles.move(aside, place);
        }
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be listed".formatted(checkpoints()), e);
    }
  }

  /** Puts a whole folder where another may stand; at any moment one of them can be found. */
  private static void replace(Path part, Path place) {
    Path aside = place.resolveSibling("." + place.getFileName() + ASIDE);
    if (Files.exists(place)) {
      delete(aside);
      AtomicFiles.move(place, aside);
    }
    AtomicFiles.move(part, place);
    delete(aside);
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
    once(() -> delete(part));
    model.saveAdapter(adapter, part, SaveStart.AS_TRAINED);
    try (var _ = Scope.open()) {
      Map<String, Tensor> remembered =
          OptimizerParts.whole(optimizer.state(), model.adapters().shards());
      once(
          () -> {
            keepUnlikeFile(model.adapters(), part);
            SafetensorsWriter.write(part.resolve(OPTIMIZER), remembered);
            AtomicFiles.write(part.resolve(STATE), json(state, examples).toPrettyString() + "\n");
            replace(part, target);
          });
    }
  }

  /**
   * Trained tensors that the adapter's file has in another form, such as in other coordinates:
   * going there and back rounds, and a run that is resumed has to end with the same bits.
   */
  private static void keepUnlikeFile(Adapters adapters, Path checkpoint) {
    if (adapters.ranks() != null) {
      return; // there all that trains is saved as it is
    }
    var unlike = new LinkedHashMap<String, Tensor>();
    try (TensorFile file = SafetensorsFile.open(checkpoint.resolve(AdapterFiles.TENSORS))) {
      adapters
          .parameters()
          .forEach(
              (key, parameter) -> {
                boolean there = file.entries().containsKey(key);
                if (!there || !file.tensor(key).equal(parameter)) {
                  unlike.put(key, parameter.detach());
                }
              });
    }
    if (!unlike.isEmpty()) {
      SafetensorsWriter.write(checkpoint.resolve(PARAMETERS), unlike);
    }
  }

  private static void restoreUnlikeFile(Adapters adapters, Path checkpoint) {
    Path file = checkpoint.resolve(PARAMETERS);
    if (!Files.exists(file)) {
      return;
    }
    try (TensorFile saved = SafetensorsFile.open(file);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Map<String, Tensor> present = adapters.parameters();
      saved
          .tensors()
          .forEach((key, tensor) -> Objects.requireNonNull(present.get(key), key).copy_(tensor));
    }
  }

  private static ObjectNode json(TrainingState state, int examples) {
    ObjectNode json = JsonMapper.shared().createObjectNode();
    json.put("step", state.step());
    json.put("best_loss", Double.toString(state.bestLoss()));
    json.put("evaluations_without_gain", state.withoutGain());
    json.put("examples", examples);
    return json;
  }

  /** Deletes all but the newest checkpoints; 0 keeps all. */
  void keep(int newest) {
    once(() -> deleteOlder(newest));
  }

  private void deleteOlder(int newest) {
    NavigableMap<Integer, Path> steps = steps();
    while (newest > 0 && steps.size() > newest) {
      Path oldest = steps.pollFirstEntry().getValue();
      // Renamed first: a half deleted checkpoint must not be taken for a whole one.
      Path dying = oldest.resolveSibling("." + oldest.getFileName() + DYING);
      delete(dying);
      AtomicFiles.move(oldest, dying);
      delete(dying);
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
    if (checkpoint == null) {
      return TrainingState.START;
    }
    ObjectNode json = state(checkpoint);
    if (json.path("examples").asInt() != examples) {
      throw new RecipeException(
          "the run began with %d examples but the data has %d now; resume with the data that it began with"
              .formatted(json.path("examples").asInt(), examples));
    }
    AdapterFiles.requireBaseOf(
        model.adapters(), adapter, checkpoint, model.adapters().config(adapter));
    try (TensorFile saved = SafetensorsFile.open(checkpoint.resolve(AdapterFiles.TENSORS));
        TensorFile remembered = SafetensorsFile.open(checkpoint.resolve(OPTIMIZER));
        var _ = Scope.open()) {
      model
          .adapters()
          .setState(
              adapter,
              saved.tensors(),
              LoadOptions.defaults().withTrainable(true).withStrict(true));
      restoreUnlikeFile(model.adapters(), checkpoint);
      optimizer.restore(OptimizerParts.parts(remembered.tensors(), model.adapters().shards()));
    }
    return new TrainingState(
        json.path("step").asInt(),
        Double.parseDouble(json.path("best_loss").asString()),
        json.path("evaluations_without_gain").asInt());
  }

  private static ObjectNode state(Path checkpoint) {
    Path file = checkpoint.resolve(STATE);
    try {
      return (ObjectNode) JsonMapper.shared().readTree(Files.readAllBytes(file));
    } catch (IOException | JacksonException | ClassCastException e) {
      throw new CheckpointException(
          "%s can not be read: %s; delete that checkpoint to resume from the one before"
              .formatted(file, e.getMessage()),
          e);
    }
  }

  /** Keeps the adapter as it is now as the best so far. */
  void best(PretrainedModel model, String adapter) {
    Path part = checkpoints().resolve(".best.part");
    once(() -> delete(part));
    model.saveAdapter(adapter, part, SaveStart.AS_TRAINED);
    once(() -> replace(part, best()));
  }

  /** The folder of the best adapter, which may not be there. */
  Path best() {
    return checkpoints().resolve("best");
  }

  /** Puts the best adapter back, if one was kept. */
  void restoreBest(PretrainedModel model, String adapter) {
    if (!Files.isDirectory(best())) {
      return;
    }
    try (TensorFile saved = SafetensorsFile.open(best().resolve(AdapterFiles.TENSORS));
        var _ = Scope.open()) {
      model
          .adapters()
          .setState(
              adapter,
              saved.tensors(),
              LoadOptions.defaults().withTrainable(true).withStrict(true));
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

  private static void delete(Path path) {
    if (!Files.exists(path)) {
      return;
    }
    try (Stream<Path> all = Files.walk(path)) {
      List<Path> inner = all.sorted(Comparator.reverseOrder()).toList();
      for (Path each : inner) {
        Files.delete(each);
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be deleted".formatted(path), e);
    }
  }
}
