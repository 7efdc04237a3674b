package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Training by the command line, on a tiny model that talks in bytes. */
class TrainCommandsTest {

  @TempDir Path folder;

  @BeforeEach
  void write_a_model_and_data() throws IOException {
    TinyChatModel.writeWithRows(folder);
  }

  private Path recipe(String name, String adapter) throws IOException {
    return Files.writeString(
        folder.resolve(name + ".yaml"),
        """
        model: %1$s/model
        dtype: f32
        adapter: %2$s
        data: {train: %1$s/rows.jsonl, eval: %1$s/rows.jsonl, max_length: 48}
        training: {steps: 12, batch_size: 4, learning_rate: 1e-2, save_every: 2, threads: 1}
        output: %1$s/%3$s
        """
            .formatted(folder, adapter, name));
  }

  private Path lora(String name) throws IOException {
    return recipe(name, "{peft_type: LORA, r: 4, lora_alpha: 8, lora_dropout: 0.1}");
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.err()).doesNotContain("error:");
    assertThat(run.exitCode()).isZero();
    return run;
  }

  @Test
  void an_adapter_that_was_trained_answers_as_it_was_taught() throws IOException {
    done("train", lora("taught").toString(), "--set", "training.steps=60");

    CommandRun run =
        done(
            "generate",
            "--model",
            folder.resolve("model").toString(),
            "--adapter",
            folder.resolve("taught").toString(),
            "--prompt",
            "elm?",
            "--max-new-tokens",
            "6");

    assertThat(run.out()).startsWith("a tree");
    assertThat(folder.resolve("taught"))
        .isDirectoryContaining("glob:**/adapter_config.json")
        .isDirectoryContaining("glob:**/metrics.jsonl")
        .isDirectoryContaining("glob:**/loss.png")
        .isDirectoryContaining("glob:**/report.html")
        .isDirectoryContaining("glob:**/README.md");
  }

  @Test
  void a_process_that_is_killed_and_resumed_ends_with_the_same_adapter()
      throws IOException, InterruptedException {
    Path whole = lora("whole");
    Path killed = lora("killed");
    done("train", whole.toString());

    Process process = child("train", killed.toString());
    Path metrics = folder.resolve("killed/metrics.jsonl");
    while (process.isAlive() && (!Files.exists(metrics) || Files.size(metrics) < 400)) {
      Thread.sleep(2);
    }
    process.destroyForcibly().waitFor(30, TimeUnit.SECONDS);
    assertThat(folder.resolve("killed/adapter_model.safetensors")).doesNotExist();
    done("train", killed.toString(), "--resume");

    assertThat(folder.resolve("killed/adapter_model.safetensors"))
        .hasSameBinaryContentAs(folder.resolve("whole/adapter_model.safetensors"));
  }

  private Process child(String... arguments) throws IOException {
    List<String> command = ChildJvm.command(Main.class, Arrays.asList(arguments));
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(new File(folder.resolve("child.log").toString()))
        .start();
  }

  @Test
  void a_comparison_goes_on_where_it_broke_off_and_takes_in_other_recipes() throws IOException {
    String first = lora("lora").toString();
    String second = recipe("hira", "{peft_type: HIRA, r: 4}").toString();
    String out = folder.resolve("compared").toString();
    done("compare", first, "-o", out);
    byte[] adapter = Files.readAllBytes(Path.of(out, "lora", "adapter_model.safetensors"));

    CommandRun run = done("compare", first, second, "-o", out, "--resume");

    assertThat(run.out()).contains("lora").contains("hira");
    assertThat(Files.readString(Path.of(out, "compare.md"))).contains("| lora |", "| hira |");
    assertThat(Path.of(out, "compare.png")).isNotEmptyFile();
    assertThat(Path.of(out, "lora", "adapter_model.safetensors")).hasBinaryContent(adapter);
  }

  @Test
  void a_comparison_whose_table_was_lost_has_the_same_losses_again() throws IOException {
    String first = lora("lora").toString();
    String out = folder.resolve("compared").toString();
    String before = losses(done("compare", first, "-o", out, "--json"));
    Files.delete(Path.of(out, "compare.json"));

    CommandRun run = done("compare", first, "-o", out, "--resume", "--json");

    assertThat(losses(run)).isEqualTo(before).contains("eval_loss_before");
  }

  private static String losses(CommandRun run) {
    return run.out().replaceAll(".*(\"eval_loss_before.*),\"seconds\".*\\R?", "$1");
  }

  @Test
  void epochs_beside_steps_are_told_not_to_count() throws IOException {
    CommandRun run =
        done(
            "train",
            lora("both").toString(),
            "--set",
            "training.steps=1",
            "--set",
            "training.epochs=3");

    assertThat(run.err())
        .contains(
            "training.steps is 1 and goes before training.epochs, so the 3.0 epochs do not count");
  }
}
