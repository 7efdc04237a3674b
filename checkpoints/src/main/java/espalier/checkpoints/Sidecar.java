package espalier.checkpoints;

import espalier.adapters.WeightSketch;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * {@code espalier_adapter.json}: what an adapter's folder says beyond the reference's files. Other
 * readers pass it over, and without it a folder loads as well: by what an adapter knows its base
 * again, which is then not checked, and settings of this library, which then have their defaults.
 */
final class Sidecar {

  /** The file's name. */
  static final String FILE = "espalier_adapter.json";

  private static final String BASE = "base_weights";
  private static final String SETTINGS = "config";

  private Sidecar() {}

  /**
   * Writes the file, if there is anything to say.
   *
   * @param base sketches of the base's weights by the path of their layer
   * @param settings fields of the config that the reference does not know
   */
  static void write(Path file, Map<String, WeightSketch> base, ObjectNode settings) {
    if (base.isEmpty() && settings.isEmpty()) {
      return;
    }
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    if (!base.isEmpty()) {
      ObjectNode weights = root.putObject(BASE);
      base.forEach(
          (path, sketch) -> {
            ObjectNode one = weights.putObject(path).put("dtype", sketch.dtype());
            sketch.values().forEach(one.withArray("values")::add);
          });
    }
    if (!settings.isEmpty()) {
      root.set(SETTINGS, settings);
    }
    AtomicFiles.write(
        file, StrictJson.MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(root));
  }

  /**
   * The sketches of a folder by the path of their layer; empty if there are none.
   *
   * @throws CheckpointException if the file is broken
   */
  static Map<String, WeightSketch> base(Path folder) {
    var base = new LinkedHashMap<String, WeightSketch>();
    read(folder)
        .path(BASE)
        .properties()
        .forEach(each -> base.put(each.getKey(), sketch(each.getValue())));
    return base;
  }

  /**
   * The settings of a folder that the reference does not know; empty if there are none.
   *
   * @throws CheckpointException if the file is broken
   */
  static Map<String, JsonNode> settings(Path folder) {
    var settings = new LinkedHashMap<String, JsonNode>();
    read(folder)
        .path(SETTINGS)
        .properties()
        .forEach(each -> settings.put(each.getKey(), each.getValue()));
    return settings;
  }

  private static JsonNode read(Path folder) {
    Path file = folder.resolve(FILE);
    if (!Files.exists(file)) {
      return MissingNode.getInstance();
    }
    try {
      return StrictJson.MAPPER.readTree(Files.readAllBytes(file));
    } catch (IOException | JacksonException e) {
      throw new CheckpointException(
          "%s can not be read: %s; without the file the adapter loads unchecked"
              .formatted(file, e.getMessage()),
          e);
    }
  }

  private static WeightSketch sketch(JsonNode node) {
    List<Double> values =
        node.path("values").valueStream().map(value -> value.asDouble(Double.NaN)).toList();
    return new WeightSketch(node.path("dtype").asString(""), values);
  }
}
