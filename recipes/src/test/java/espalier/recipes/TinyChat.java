package espalier.recipes;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The tiny llama of the golden cases, with a tokenizer of a token a byte and a chat template. */
final class TinyChat {

  private static final Path MODEL = Path.of("../parity/models/llama");
  private static final Path TEXT = Path.of("src/test/resources/tiny-chat");

  private static final List<String> NOUNS =
      List.of("oak", "elm", "fir", "ash", "yew", "fig", "bay", "box", "gum", "nut");

  private TinyChat() {}

  /** Writes the model's folder into {@code folder} and returns it. */
  static Path model(Path folder) throws IOException {
    Path model = Files.createDirectories(folder.resolve("model"));
    for (Path from : List.of(MODEL, TEXT)) {
      try (var files = Files.list(from)) {
        for (Path file : files.toList()) {
          Files.copy(file, model.resolve(file.getFileName()));
        }
      }
    }
    return model;
  }

  /** Writes {@code count} conversations of unequal lengths, and returns their file. */
  static Path data(Path folder, int count) throws IOException {
    var lines = new StringBuilder();
    for (int i = 0; i < count; i++) {
      String noun = NOUNS.get(i % NOUNS.size());
      lines.append(
          """
          {"messages": [{"role": "user", "content": "%s?"}, {"role": "assistant", "content": "a%s tree"}]}
          """
              .formatted(noun, " big".repeat(i % 4)));
    }
    return Files.writeString(folder.resolve("data.jsonl"), lines);
  }
}
