package espalier.checkpoints;

import java.nio.file.Files;
import java.nio.file.Path;

/** Models that are on this machine already. */
final class LocalModel {

  private LocalModel() {}

  static Path folder(Path path) {
    if (Files.isDirectory(path)) {
      PickleRefusal.checkFolder(path);
      return path;
    }
    if (Files.exists(path)) {
      PickleRefusal.checkFile(path);
      throw CheckpointException.in(
          path,
          "this is a file, and a model is a folder or a .gguf file; name the folder it lies in");
    }
    String hint =
        path.getNameCount() == 2 && !path.isAbsolute()
            ? "; for a model of the hub write hub:" + path.toString().replace('\\', '/')
            : "; check the path";
    throw CheckpointException.in(path, "there is no such folder" + hint);
  }

  static Path gguf(Path path) {
    if (Files.isDirectory(path)) {
      throw CheckpointException.in(path, "this is a folder, and a GGUF file was expected");
    }
    if (!Files.exists(path)) {
      throw CheckpointException.in(path, "there is no such file; check the path");
    }
    return path;
  }
}
