package espalier.checkpoints;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;

/**
 * Safetensors files that an index joins to one set of tensors. Tensors that a shard holds beyond
 * those the index names are not part of it.
 */
public final class ShardedSafetensors implements TensorFile {

  private final Path index;
  private final Map<String, SafetensorsFile> shards; // by file name
  private final Map<String, SafetensorsFile> shardOf; // by tensor name
  private final Map<String, Entry> entries;

  private ShardedSafetensors(
      Path index, Map<String, SafetensorsFile> shards, Map<String, SafetensorsFile> shardOf) {
    this.index = index;
    this.shards = shards;
    this.shardOf = shardOf;
    var all = new LinkedHashMap<String, Entry>();
    for (SafetensorsFile shard : shards.values()) {
      shard.entries().forEach((name, entry) -> putIfOf(shard, name, entry, all));
    }
    entries = Collections.unmodifiableMap(all);
  }

  private void putIfOf(SafetensorsFile shard, String name, Entry entry, Map<String, Entry> all) {
    if (shardOf.get(name) == shard) {
      all.put(name, entry);
    }
  }

  /**
   * Opens an index such as {@code model.safetensors.index.json} and all its shards, which lie
   * beside it.
   *
   * @throws CheckpointException if a shard is missing or broken, lacks a tensor that the index
   *     promises, or has a name that leads out of the folder
   */
  public static ShardedSafetensors open(Path index) {
    Map<String, String> weightMap = ShardIndex.read(index);
    var shards = new LinkedHashMap<String, SafetensorsFile>();
    var shardOf = LinkedHashMap.<String, SafetensorsFile>newLinkedHashMap(weightMap.size());
    try {
      for (String shard : weightMap.values().stream().distinct().sorted().toList()) {
        shards.put(shard, openShard(index, shard, weightMap));
      }
      weightMap.forEach(
          (tensor, shard) -> {
            SafetensorsFile file = Objects.requireNonNull(shards.get(shard));
            if (!file.contains(tensor)) {
              throw CheckpointException.in(
                  index,
                  "%s is to be in %s but is not; the index and the shards are not of one model"
                      .formatted(tensor, shard));
            }
            shardOf.put(tensor, file);
          });
      return new ShardedSafetensors(index, shards, shardOf);
    } catch (RuntimeException e) {
      shards.values().forEach(SafetensorsFile::close);
      throw e;
    }
  }

  private static SafetensorsFile openShard(
      Path index, String shard, Map<String, String> weightMap) {
    Path file = index.resolveSibling(shard);
    if (!Files.exists(file)) {
      List<String> missing = new ArrayList<>();
      for (String name : weightMap.values().stream().distinct().sorted().toList()) {
        if (!Files.exists(index.resolveSibling(name))) {
          missing.add(name);
        }
      }
      throw CheckpointException.in(
          index,
          "%d of %d shards are missing: %s; download the model again, or copy them beside the index"
              .formatted(
                  missing.size(),
                  weightMap.values().stream().distinct().count(),
                  String.join(", ", missing)));
    }
    return SafetensorsFile.open(file);
  }

  @Override
  public Path path() {
    return index;
  }

  @Override
  public Map<String, Entry> entries() {
    return entries;
  }

  /** The names of the shards and their files, sorted by name. */
  public Map<String, SafetensorsFile> shards() {
    return Collections.unmodifiableMap(shards);
  }

  @Override
  public Tensor tensor(String name) {
    SafetensorsFile shard = shardOf.get(name);
    if (shard == null) {
      throw CheckpointException.missing(index, name, entries.keySet());
    }
    return shard.tensor(name);
  }

  /** What the first shard notes; the others repeat it. */
  @Override
  public Map<String, String> metadata() {
    return shards.values().iterator().next().metadata();
  }

  @Override
  public void close() {
    shards.values().forEach(SafetensorsFile::close);
  }
}
