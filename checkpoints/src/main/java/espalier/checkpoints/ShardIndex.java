package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/** Reads {@code model.safetensors.index.json}: which tensor is in which shard. */
final class ShardIndex {

  private ShardIndex() {}

  /** Shard by tensor, in the file's order; every shard is the plain name of a safetensors file. */
  static Map<String, String> read(Path index) {
    JsonNode json;
    try {
      if (Files.size(index) > SafetensorsHeader.MAX_LENGTH) {
        throw CheckpointException.in(
            index,
            "the index has %s but some megabytes are usual; this is another file"
                .formatted(Bytes.text(Files.size(index))));
      }
      json = StrictJson.MAPPER.readTree(Files.readAllBytes(index));
    } catch (IOException e) {
      throw CannotRead.of(index, e);
    } catch (JacksonException e) {
      throw new CheckpointException(
          "%s: the index is not valid JSON: %s; download it again"
              .formatted(index, e.getOriginalMessage()),
          e);
    }
    JsonNode weightMap = json.path("weight_map");
    if (!weightMap.isObject() || weightMap.isEmpty()) {
      throw CheckpointException.in(
          index, "weight_map, from tensor to shard, is missing or empty; download the index again");
    }
    var shardByTensor = LinkedHashMap.<String, String>newLinkedHashMap(weightMap.size());
    for (var tensor : weightMap.properties()) {
      shardByTensor.put(tensor.getKey(), shard(index, tensor.getKey(), tensor.getValue()));
    }
    return shardByTensor;
  }

  private static String shard(Path index, String tensor, JsonNode value) {
    if (!value.isString()) {
      throw CheckpointException.in(
          index, "weight_map.%s is %s but must be the name of a shard".formatted(tensor, value));
    }
    String name = value.stringValue();
    // Else an index could have any file of the machine read.
    if (!PlainName.is(name) || !name.endsWith(".safetensors")) {
      throw CheckpointException.in(
          index,
          ("weight_map.%s is '%s' but a shard is a safetensors file right beside the index; do not"
                  + " use this model unless you know why")
              .formatted(tensor, name));
    }
    return name;
  }
}
