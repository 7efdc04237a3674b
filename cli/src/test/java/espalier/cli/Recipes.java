package espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A tiny model, rows to learn from and recipes for both, in one folder. */
record Recipes(Path folder) {

  static Recipes in(Path folder) throws IOException {
    TinyChatModel.writeWithRows(folder);
    return new Recipes(folder);
  }

  String at(String name) {
    return folder.resolve(name).toString();
  }

  String model() {
    return at("model");
  }

  String rows() {
    return at("rows.jsonl");
  }

  /** A recipe of three steps whose run goes to a folder of its name. */
  String write(String name, String adapter) throws IOException {
    return Files.writeString(
            folder.resolve(name + ".yaml"),
            """
            model: %1$s/model
            dtype: f32
            adapter: %2$s
            data: {train: %1$s/rows.jsonl, max_length: 48}
            training: {steps: 3, batch_size: 4, learning_rate: 1e-2, threads: 1}
            output: %1$s/%3$s
            """
                .formatted(folder, adapter, name))
        .toString();
  }
}
