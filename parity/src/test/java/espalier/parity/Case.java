package espalier.parity;

import espalier.checkpoints.SafetensorsFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * One case folder.
 *
 * @param folder where it lies
 * @param json what its {@code case.json} says
 */
record Case(Path folder, JsonNode json) {

  static final JsonMapper JSON = new JsonMapper();

  static Case in(Path folder) {
    return new Case(folder, JSON.readTree(folder.resolve("case.json")));
  }

  String name() {
    return text("name");
  }

  /** The kind, with its variant after a slash where it has one. */
  String kind() {
    String variant = json.path("variant").asString("");
    return variant.isEmpty() ? text("kind") : text("kind") + "/" + variant;
  }

  String method() {
    return text("method");
  }

  /** What stands under {@code field}, which must be there. */
  JsonNode get(String field) {
    JsonNode value = json.get(field);
    if (value == null) {
      throw new AssertionError("case.json of " + folder.getFileName() + " has no field " + field);
    }
    return value;
  }

  private String text(String field) {
    return get(field).asString();
  }

  Path path(String relative) {
    return folder.resolve(relative).normalize();
  }

  Path model() {
    return path(text("model"));
  }

  /** The adapters of the case by name, in order: the one under {@code adapter}, or several. */
  Map<String, Path> adapters() {
    var paths = new LinkedHashMap<String, Path>();
    if (json.has("adapter")) {
      paths.put("default", path(text("adapter")));
    } else {
      get("adapters")
          .properties()
          .forEach(entry -> paths.put(entry.getKey(), path(entry.getValue().asString())));
    }
    return paths;
  }

  /** The tensors of a file in the case's folder, in the current scope. */
  Map<String, Tensor> tensors(String file) {
    return read(path(file));
  }

  /** The tensors of any file, in the current scope. */
  static Map<String, Tensor> read(Path path) {
    var tensors = new LinkedHashMap<String, Tensor>();
    try (var file = SafetensorsFile.open(path)) {
      for (String name : file.entries().keySet()) {
        tensors.put(name, file.tensor(name));
      }
    }
    return tensors;
  }

  /** All tensors that the case expects; those after training are named {@code after.KEY}. */
  Map<String, Tensor> expected() {
    var expected = new LinkedHashMap<String, Tensor>();
    if (Files.exists(path("expected.safetensors"))) {
      expected.putAll(tensors("expected.safetensors"));
    }
    if (json.has("after")) {
      read(path(text("after")).resolve("adapter_model.safetensors"))
          .forEach((name, tensor) -> expected.put("after." + name, tensor));
    }
    return expected;
  }
}
