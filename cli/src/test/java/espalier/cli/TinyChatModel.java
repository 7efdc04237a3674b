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

  /** Writes the model into {@code folder/model}, and questions with one answer to train it on. */
  static void writeWithRows(Path folder) throws IOException {
    write(folder.resolve("model"));
    var rows = new StringBuilder();
    for (String noun : List.of("oak", "elm", "fir", "ash", "yew", "fig", "bay", "box")) {
      rows.append(
          """
          {"messages": [{"role": "user", "content": "%s?"}, {"role": "assistant", "content": "a tree"}]}
          """
              .formatted(noun));
    }
    Files.writeString(folder.resolve("rows.jsonl"), rows);
  }
}
