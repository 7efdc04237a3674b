package espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** A tiny model of random weights with a tokenizer of bytes and a chat template. */
final class TinyChatModel {

  private TinyChatModel() {}

  static Path write(Path folder) throws IOException {
    Files.createDirectory(folder);
    for (Path from :
        List.of(
            Path.of("../parity/models/llama"),
            Path.of("../recipes/src/test/resources/tiny-chat"))) {
      try (var files = Files.list(from)) {
        for (Path file : files.toList()) {
          Files.copy(file, folder.resolve(file.getFileName()));
        }
      }
    }
    return folder;
  }
}
