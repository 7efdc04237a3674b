package espalier.cli;

import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.TensorFile;
import espalier.checkpoints.gguf.GgufFile;
import espalier.checkpoints.gguf.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * What lies in a file or folder of tensors, without reading one of them.
 *
 * @param tensors a row each: name, shape, dtype, bytes
 * @param elements numbers in all tensors together
 * @param bytes of all tensors together
 * @param config the contents of the config beside them, the metadata of a single file
 */
record Inspection(List<ObjectNode> tensors, long elements, long bytes, JsonNode config) {

  /** Longer lists of a GGUF file's metadata are a vocabulary, which nobody wants to see here. */
  private static final int SHOWN_VALUES = 16;

  /**
   * Looks at a model's or adapter's folder, a GGUF file or a safetensors file.
   *
   * @throws CheckpointException if it can not be read
   */
  static Inspection of(Path path) {
    return path.toString().toLowerCase(Locale.ROOT).endsWith(".gguf") ? gguf(path) : plain(path);
  }

  private static Inspection plain(Path path) {
    try (TensorFile file = TensorFile.open(path)) {
      var rows = new ArrayList<ObjectNode>();
      long elements = 0;
      long bytes = 0;
      for (var named : file.entries().entrySet()) {
        TensorFile.Entry entry = named.getValue();
        rows.add(row(named.getKey(), Arrays.toString(entry.shape()), entry.dtype(), entry.bytes()));
        elements += entry.elements();
        bytes += entry.bytes();
      }
      return new Inspection(rows, elements, bytes, config(path, file));
    }
  }

  private static JsonNode config(Path path, TensorFile file) {
    for (String name : List.of(AdapterFiles.CONFIG, "config.json")) {
      Path config = path.resolve(name);
      if (Files.isDirectory(path) && Files.exists(config)) {
        try {
          return JsonMapper.shared().readTree(Files.readAllBytes(config));
        } catch (IOException | JacksonException e) {
          throw CheckpointException.in(config, "can not be read: " + e.getMessage());
        }
      }
    }
    ObjectNode metadata = Output.row();
    file.metadata().forEach(metadata::put);
    return metadata;
  }

  private static Inspection gguf(Path path) {
    try (GgufFile file = GgufFile.open(path)) {
      var rows = new ArrayList<ObjectNode>();
      long elements = 0;
      long bytes = 0;
      for (TensorInfo tensor : file.tensors()) {
        rows.add(
            row(tensor.name(), tensor.shape().toString(), tensor.format().name(), tensor.bytes()));
        elements += tensor.rows() * tensor.rowElements();
        bytes += tensor.bytes();
      }
      ObjectNode metadata = Output.row();
      file.metadata().values().forEach((key, value) -> metadata.putPOJO(key, shown(value)));
      // Once through the mapper, so that the values are plain JSON.
      return new Inspection(rows, elements, bytes, JsonMapper.shared().valueToTree(metadata));
    }
  }

  private static Object shown(Object value) {
    return value instanceof List<?> list && list.size() > SHOWN_VALUES
        ? "[%d values]".formatted(list.size())
        : value;
  }

  private static ObjectNode row(String name, String shape, String dtype, long bytes) {
    return Output.row()
        .put("name", name)
        .put("shape", shape)
        .put("dtype", dtype)
        .put("bytes", bytes);
  }

  /** Tells it all. */
  void write(Output output, boolean json) {
    output.table(tensors, json);
    if (json) {
      ObjectNode totals =
          Output.row().put("tensors", tensors.size()).put("elements", elements).put("bytes", bytes);
      totals.set("config", config);
      output.json(totals);
      return;
    }
    output.line("");
    output.line(
        String.format(
            Locale.ROOT,
            "%,d tensors, %,d numbers, %,d bytes (%.1f MB)",
            tensors.size(),
            elements,
            bytes,
            bytes / 1e6));
    output.line(config.toPrettyString());
  }
}
