package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Starts from data without a recipe. */
class InitCommandTest {

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({"corda, LORA, 16", "eva, LORA, 32", "lora-ga, LORA, 32", "hira-sb, HIRA_SB, "})
  void a_model_and_data_are_enough(String start, String method, String alpha) throws IOException {
    Recipes recipes = Recipes.in(folder);

    CommandRun run =
        CommandRun.of(
            "init",
            start,
            "--model",
            recipes.model(),
            "--data",
            recipes.rows(),
            "--set",
            "adapter.r=4",
            "--set",
            "dtype=f32",
            "--set",
            "data.max_length=48",
            "--set",
            "training.threads=1",
            "--out",
            recipes.at("start"),
            "--quiet");

    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.out()).isEqualTo("adapter: %s%n".formatted(recipes.at("start")));
    String config = Files.readString(folder.resolve("start/adapter_config.json"));
    assertThat(config).contains("\"peft_type\": \"%s\"".formatted(method), "down_proj");
    if (alpha != null) {
      assertThat(config).contains("\"lora_alpha\": " + alpha);
    }
    CommandRun trained =
        CommandRun.of(
            "train", recipes.write("run", "{from: %s}".formatted(recipes.at("start"))), "--quiet");
    assertThat(trained.exitCode()).as(trained.err()).isZero();
    assertThat(folder.resolve("run/adapter_model.safetensors")).isNotEmptyFile();
  }

  @Test
  void a_length_that_nobody_gave_is_as_long_as_the_model_reads() throws IOException {
    Recipes recipes = Recipes.in(folder);

    CommandRun run =
        CommandRun.of(
            "init",
            "eva",
            "-m",
            recipes.model(),
            "--data",
            recipes.rows(),
            "--set",
            "dtype=f32",
            "-o",
            recipes.at("start"));
    CommandRun eval = CommandRun.of("eval", "-m", recipes.model(), "-d", recipes.rows());
    CommandRun given =
        CommandRun.of("eval", "-m", recipes.model(), "-d", recipes.rows(), "--max-length", "65");

    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.err())
        .contains(
            "max_length is 64, since the model reads no more tokens than that; 1024 is usual");
    assertThat(eval.exitCode()).as(eval.err()).isZero();
    assertThat(eval.err()).contains("max length is 64, since the model reads no more");
    assertThat(given.exitCode()).isEqualTo(2);
    assertThat(given.err()).contains("--max-length is 65 but the model reads 64 tokens at most");
  }

  @Test
  void the_demo_takes_a_model_that_reads_less_than_its_examples_are_long() throws IOException {
    Recipes recipes = Recipes.in(folder);

    CommandRun run =
        CommandRun.of("demo", "--quick", "-m", recipes.model(), "--output", recipes.at("demo"));

    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.err())
        .contains("max_length is 64, since the model reads no more tokens than that; 256 is usual");
    assertThat(folder.resolve("demo/recipe.yaml")).content().contains("max_length: 64");
    assertThat(folder.resolve("demo/my-recipe.yaml")).content().contains("max_length: 64");
  }

  @Test
  void a_start_without_data_is_refused_before_anything_is_loaded() {
    CommandRun run =
        CommandRun.of("init", "eva", "-m", "nowhere", "-o", folder.resolve("x").toString());

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("give --model and --data, or a --recipe");
    assertThat(folder.resolve("x")).doesNotExist();
  }
}
