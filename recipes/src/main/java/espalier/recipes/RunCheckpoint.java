package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.checkpoints.TensorFile;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import espalier.training.Optimizer;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a run can be resumed from: the adapter as PEFT reads it, and beside it what the optimizer
 * remembers and how far the run had come.
 */
record RunCheckpoint(Path folder) {

  private static final String STATE = "state.json";
  private static final String OPTIMIZER = "optimizer.safetensors";
  private static final String PARAMETERS = "parameters.safetensors";

  /** Writes the rest of a checkpoint whose adapter is there already. */
  void complete(
      Adapters adapters, Map<String, Tensor> remembered, TrainingState state, int examples) {
    keepUnlikeFile(adapters);
    SafetensorsWriter.write(folder.resolve(OPTIMIZER), remembered);
    AtomicFiles.write(folder.resolve(STATE), json(state, examples).toPrettyString() + "\n");
  }

  /**
   * Trained tensors that the adapter's file has in another form, such as in other coordinates:
   * going there and back rounds, and a run that is resumed has to end with the same bits.
   */
  private void keepUnlikeFile(Adapters adapters) {
    if (adapters.ranks() != null) {
      return; // there all that trains is saved as it is
    }
    var unlike = new LinkedHashMap<String, Tensor>();
    try (TensorFile file = SafetensorsFile.open(folder.resolve(AdapterFiles.TENSORS))) {
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
      SafetensorsWriter.write(folder.resolve(PARAMETERS), unlike);
    }
  }

  private void restoreUnlikeFile(Adapters adapters) {
    Path file = folder.resolve(PARAMETERS);
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

  /**
   * Puts all of it back into model and optimizer.
   *
   * @throws RecipeException if the run began with another number of examples
   * @throws IllegalStateException if the adapter's start takes something out of the base, and the
   *     run began on another base
   */
  TrainingState resume(PretrainedModel model, String adapter, Optimizer optimizer, int examples) {
    Adapters adapters = model.adapters();
    ObjectNode json = state();
    if (json.path("examples").asInt() != examples) {
      throw new RecipeException(
          "the run began with %d examples but the data has %d now; resume with the data that it began with"
              .formatted(json.path("examples").asInt(), examples));
    }
    AdapterFiles.requireBaseOf(adapters, adapter, folder, adapters.config(adapter));
    try (TensorFile remembered = SafetensorsFile.open(folder.resolve(OPTIMIZER));
        var _ = Scope.open()) {
      putAdapter(adapters, adapter);
      restoreUnlikeFile(adapters);
      optimizer.restore(OptimizerParts.parts(remembered.tensors(), adapters.shards()));
    }
    return new TrainingState(
        json.path("step").asInt(),
        Double.parseDouble(json.path("best_loss").asString()),
        json.path("evaluations_without_gain").asInt());
  }

  /** Puts the adapter alone back. */
  void putAdapter(Adapters adapters, String adapter) {
    try (TensorFile saved = SafetensorsFile.open(folder.resolve(AdapterFiles.TENSORS));
        var _ = Scope.open()) {
      adapters.setState(
          adapter, saved.tensors(), LoadOptions.defaults().withTrainable(true).withStrict(true));
    }
  }

  private ObjectNode state() {
    Path file = folder.resolve(STATE);
    try {
      return (ObjectNode) JsonMapper.shared().readTree(Files.readAllBytes(file));
    } catch (IOException | JacksonException | ClassCastException e) {
      throw new CheckpointException(
          "%s can not be read: %s; delete that checkpoint to resume from the one before"
              .formatted(file, e.getMessage()),
          e);
    }
  }
}
