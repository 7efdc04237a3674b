package espalier.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Runs the programs on a tiny model that talks in bytes. */
class ExamplesTest {

  @TempDir Path folder;

  @BeforeEach
  void write_a_model() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (Path from :
        List.of(
            Path.of("../parity/models/llama"),
            Path.of("../recipes/src/test/resources/tiny-chat"))) {
      try (var files = Files.list(from)) {
        for (Path file : files.toList()) {
          Files.copy(file, model.resolve(file.getFileName()));
        }
      }
    }
  }

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  private static List<String> printed(Runnable program) {
    PrintStream before = System.out;
    var bytes = new ByteArrayOutputStream();
    System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try {
      program.run();
    } finally {
      System.setOut(before);
    }
    return bytes.toString(StandardCharsets.UTF_8).lines().toList();
  }

  private void train(String name, String recipe, String answer) throws IOException {
    Files.writeString(
        folder.resolve("data.jsonl"),
        "{\"prompt\": \"Polly?\", \"completion\": \"%s\"}\n".formatted(answer).repeat(4));
    printed(
        () ->
            FineTune.main(
                "../examples/recipes/" + recipe + ".yaml",
                "model=" + at("model"),
                "dtype=f32",
                "adapter.r=8",
                "data.train=" + at("data.jsonl"),
                "data.eval=" + at("data.jsonl"),
                "data.max_length=48",
                "training.learning_rate=0.02",
                "output=" + at(name)));
  }

  @Test
  void adapters_are_trained_and_answer_side_by_side() throws IOException {
    train("hello", "lora", " hello");
    train("bye", "lora", " goodbye");

    List<String> answers =
        printed(() -> ManyAdapters.main(at("model"), "Polly?", at("hello"), at("bye")));

    assertThat(answers).hasSizeGreaterThanOrEqualTo(3);
    assertThat(answers.get(answers.size() - 2)).isEqualTo(" hello");
    assertThat(answers.getLast()).isEqualTo(" goodbye");
  }

  @Test
  void a_loop_of_ones_own_teaches_a_sentence() {
    List<String> lines = printed(() -> TrainingLoop.main(at("model"), at("parrot")));

    assertThat(lines.getFirst()).startsWith("trainable params: ");
    double last = Double.parseDouble(lines.getLast().replaceAll(".*loss ", ""));
    assertThat(last).isLessThan(0.5);
    assertThat(folder.resolve("parrot/adapter_model.safetensors")).isNotEmptyFile();
  }

  @Test
  void two_adapters_become_one() throws IOException {
    train("hello", "lora", " hello");
    train("bye", "lora", " goodbye");

    List<String> lines =
        printed(() -> Combine.main(at("model"), at("hello"), at("bye"), at("both")));

    assertThat(lines.getLast()).startsWith("largest distance from the exact sum: 0.");
    assertThat(folder.resolve("both/adapter_config.json")).isNotEmptyFile();
  }

  @Test
  void merged_adapters_are_exchanged_in_place() throws IOException {
    train("hello", "shira", " hello");
    train("bye", "shira", " goodbye");

    List<String> answers =
        printed(() -> SwitchAdapters.main(at("model"), "Polly?", at("hello"), at("bye")));

    assertThat(answers).containsExactly(" hello", " goodbye");
  }
}
