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
import tools.jackson.databind.node.ObjectNode;

/**
 * {@code espalier_adapter.json}: by what an adapter knows its base again. Other readers pass it
 * over, and without it a folder loads as well, only without the check.
 */
final class BaseSketches {

  /** The file's name. */
  static final String FILE = "espalier_adapter.json";

  private static final String FIELD = "base_weights";

  private BaseSketches() {}

  /** Writes the sketches into a folder, or takes away what an earlier adapter left there. */
  static void write(Path folder, Map<String, WeightSketch> base) {
    Path file = folder.resolve(FILE);
    if (base.isEmpty()) {
      try {
        Files.deleteIfExists(file);
      } catch (IOException e) {
        throw new CheckpointException("%s can not be deleted: %s".formatted(file, e), e);
      }
      return;
    }
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    ObjectNode weights = root.putObject(FIELD);
    base.forEach(
        (path, sketch) -> {
          ObjectNode one = weights.putObject(path).put("dtype", sketch.dtype());
          sketch.values().forEach(one.withArray("values")::add);
        });
    AtomicFiles.write(
        file, StrictJson.MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(root));
  }

  /**
   * The sketches of a folder by the path of their layer; empty if there are none.
   *
   * @throws CheckpointException if the file is broken
   */
  static Map<String, WeightSketch> read(Path folder) {
    Path file = folder.resolve(FILE);
    if (!Files.exists(file)) {
      return Map.of();
    }
    try {
      var base = new LinkedHashMap<String, WeightSketch>();
      StrictJson.MAPPER
          .readTree(Files.readAllBytes(file))
          .path(FIELD)
          .properties()
          .forEach(each -> base.put(each.getKey(), sketch(each.getValue())));
      return base;
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
