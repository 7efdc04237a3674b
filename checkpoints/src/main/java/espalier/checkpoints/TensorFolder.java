package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Finds the weights of a folder, by the names that the field uses. */
final class TensorFolder {

  private TensorFolder() {}

  static TensorFile open(Path folder) {
    Path whole = folder.resolve("model.safetensors");
    if (Files.exists(whole)) {
      return SafetensorsFile.open(whole);
    }
    Path index = folder.resolve("model.safetensors.index.json");
    if (Files.exists(index)) {
      return ShardedSafetensors.open(index);
    }
    Path adapter = folder.resolve("adapter_model.safetensors");
    if (Files.exists(adapter)) {
      return SafetensorsFile.open(adapter);
    }
    List<Path> others = others(folder);
    if (others.size() == 1) {
      return SafetensorsFile.open(others.getFirst());
    }
    if (!others.isEmpty()) {
      throw CheckpointException.in(
          folder,
          ("there are %d safetensors files here but no model.safetensors.index.json to"
                  + " join them; get the index, or name one file")
              .formatted(others.size()));
    }
    PickleRefusal.checkFolder(folder);
    throw CheckpointException.in(
        folder,
        "there are no weights here: neither model.safetensors, nor model.safetensors.index.json"
            + " with its shards, nor adapter_model.safetensors; check the path, or download the"
            + " model again");
  }

  private static List<Path> others(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(file -> file.toString().endsWith(".safetensors")).sorted().toList();
    } catch (IOException e) {
      throw CannotRead.of(folder, e);
    }
  }
}
