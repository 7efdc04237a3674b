package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * A model of a repository: its config, its tokenizer and its weights.
 *
 * @param source how the user names it
 */
record HubModel(String source) implements HubContents {

  @Override
  public String noun() {
    return "model";
  }

  @Override
  public List<String> companions(List<String> names) {
    return HubSelection.companions(names);
  }

  @Override
  public List<String> weights(List<String> names, Path snapshot) {
    if (!HubSelection.hasIndex(names)) {
      return HubSelection.weights(source, names);
    }
    List<String> shards =
        ShardIndex.read(snapshot.resolve(HubSelection.INDEX)).values().stream()
            .distinct()
            .sorted()
            .toList();
    for (String shard : shards) {
      if (!names.contains(shard)) {
        throw new CheckpointException(
            ("%s: its index names the shard %s, which the repository does not have; name"
                    + " another revision")
                .formatted(source, shard));
      }
    }
    return shards;
  }

  @Override
  public boolean isWhole(Path snapshot) {
    Path index = snapshot.resolve(HubSelection.INDEX);
    if (Files.exists(snapshot.resolve(HubSelection.WHOLE))
        || Files.exists(snapshot.resolve(HubSelection.ADAPTER))) {
      return true;
    }
    if (Files.exists(index)) {
      return ShardIndex.read(index).values().stream()
          .allMatch(shard -> Files.exists(snapshot.resolve(shard)));
    }
    return hasOtherWeights(snapshot);
  }

  private static boolean hasOtherWeights(Path snapshot) {
    if (!Files.isDirectory(snapshot)) {
      return false;
    }
    try (Stream<Path> files = Files.list(snapshot)) {
      return files.anyMatch(file -> file.toString().endsWith(".safetensors"));
    } catch (IOException e) {
      throw CannotRead.of(snapshot, e);
    }
  }
}
