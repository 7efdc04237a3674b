package espalier.adapters;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * What every {@code adapter_config.json} says beside the method's own settings.
 *
 * @param taskType what the model is trained for, or null
 * @param autoMapping the base model's Python class; only written where no task is named
 * @param baseModel id or path of the base model, or null until attached
 * @param revision revision of the base model, or null
 * @param inferenceMode whether the adapter is for use only and gets no gradients
 * @param unknown fields that this version does not know, kept so that they can be written back
 */
public record ConfigHead(
    @Nullable TaskType taskType,
    @Nullable AutoMapping autoMapping,
    @Nullable String baseModel,
    @Nullable String revision,
    boolean inferenceMode,
    Map<String, JsonNode> unknown) {

  private static final ConfigHead EMPTY = new ConfigHead(null, null, null, null, false, Map.of());

  /** Copies the map. */
  public ConfigHead {
    unknown = Collections.unmodifiableMap(new TreeMap<>(unknown));
  }

  /** Nothing said. */
  public static ConfigHead empty() {
    return EMPTY;
  }

  /** A head that names the task only. */
  public static ConfigHead of(TaskType taskType) {
    return EMPTY.withTaskType(taskType);
  }

  /** The same head with another task. */
  public ConfigHead withTaskType(@Nullable TaskType task) {
    return new ConfigHead(task, autoMapping, baseModel, revision, inferenceMode, unknown);
  }

  /** The same head with another Python class. */
  public ConfigHead withAutoMapping(@Nullable AutoMapping mapping) {
    return new ConfigHead(taskType, mapping, baseModel, revision, inferenceMode, unknown);
  }

  /** The same head with another base model. */
  public ConfigHead withBaseModel(@Nullable String model) {
    return new ConfigHead(taskType, autoMapping, model, revision, inferenceMode, unknown);
  }

  /** The same head with another revision of the base model. */
  public ConfigHead withRevision(@Nullable String other) {
    return new ConfigHead(taskType, autoMapping, baseModel, other, inferenceMode, unknown);
  }

  /** The same head with other unknown fields. */
  public ConfigHead withUnknown(Map<String, JsonNode> fields) {
    return new ConfigHead(taskType, autoMapping, baseModel, revision, inferenceMode, fields);
  }

  /** The same head for use only, or for training. */
  public ConfigHead withInferenceMode(boolean on) {
    return new ConfigHead(taskType, autoMapping, baseModel, revision, on, unknown);
  }
}
