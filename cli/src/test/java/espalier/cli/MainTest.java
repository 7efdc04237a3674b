package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

class MainTest {

  @TempDir Path folder;

  private Path recipe(String text) throws IOException {
    return Files.writeString(folder.resolve("recipe.yaml"), text);
  }

  private static void isOneParagraph(CommandRun run) {
    assertThat(run.out()).isEmpty();
    assertThat(run.err().lines()).hasSize(1);
    assertThat(run.err()).startsWith("error: ");
  }

  @Test
  void help_lists_the_commands() {
    CommandRun run = CommandRun.of("--help");

    assertThat(run.exitCode()).isZero();
    assertThat(run.out())
        .contains("demo", "train", "generate", "chat", "eval", "generate-completion");
    assertThat(run.err()).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(strings = {"demo", "train", "generate", "chat", "eval", "generate-completion"})
  void each_command_has_help(String command) {
    CommandRun run = CommandRun.of(command, "--help");

    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("espalier " + command, "--verbose");
  }

  @Test
  void the_version_is_told() {
    CommandRun run = CommandRun.of("--version");

    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).startsWith("espalier ").contains("Java 25");
  }

  @Test
  void a_completion_script_is_written() {
    CommandRun run = CommandRun.of("generate-completion");

    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("complete -F _complete_espalier");
  }

  @Test
  void no_command_is_a_usage_error() {
    CommandRun run = CommandRun.of();

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
  }

  @Test
  void a_misspelt_command_gets_a_suggestion() {
    CommandRun run = CommandRun.of("trian", "recipe.yaml");

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("train");
  }

  @Test
  void a_misspelt_recipe_key_names_the_nearest_one() throws IOException {
    Path recipe =
        recipe(
            """
            model: nowhere
            adapter: {peft_type: LORA}
            data: {train: rows.jsonl}
            trainnig: {steps: 1}
            output: out
            """);

    CommandRun run = CommandRun.of("train", recipe.toString());

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("trainnig is not a key of a recipe; nearest is training");
  }

  @Test
  void a_missing_recipe_is_named() {
    Path missing = folder.resolve("none.yaml");

    CommandRun run = CommandRun.of("train", missing.toString());

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .isEqualToNormalizingNewlines(
            "error: there is no recipe %s; give the path of a YAML or JSON file\n"
                .formatted(missing));
  }

  @Test
  void a_missing_model_is_failed_work() {
    Path missing = folder.resolve("model");

    CommandRun run = CommandRun.of("generate", "--model", missing.toString(), "--prompt", "x");

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.err()).contains(missing.toString());
  }

  @Test
  void an_unknown_adapter_folder_is_named_before_a_model_is_loaded() {
    Path missing = folder.resolve("poems");

    CommandRun run = CommandRun.of("chat", "-m", "nowhere", "--adapter", "p=" + missing);

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.err())
        .isEqualToNormalizingNewlines(
            ("error: %s: there is no such folder; check the path, or name one of the hub as"
                    + " hub:org/name[/sub/folder][@revision]\n")
                .formatted(missing));
  }

  @Test
  void a_missing_file_of_prompts_is_named_before_a_model_is_loaded() {
    Path missing = folder.resolve("prompts.jsonl");

    CommandRun run = CommandRun.of("generate", "-m", "nowhere", "--prompts", missing.toString());

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(1);
    assertThat(run.err())
        .isEqualToNormalizingNewlines(
            "error: there is no %s; check the name of the file\n".formatted(missing));
  }

  @Test
  void a_wrong_row_of_prompts_is_named_by_its_line() throws IOException {
    Path prompts = folder.resolve("prompts.jsonl");
    Files.writeString(prompts, "{\"prompt\": \"Hello\"}\n\n{\"promt\": \"Hello\"}\n");

    CommandRun run = CommandRun.of("generate", "-m", "nowhere", "--prompts", prompts.toString());

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("prompts.jsonl line 3: has the fields [promt] but needs prompt");
  }

  @Test
  void an_unknown_dtype_is_refused_with_the_known_ones() {
    CommandRun run = CommandRun.of("generate", "-m", "x", "-p", "y", "--dtype", "f64");

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("dtype is f64 but must be f32, bf16 or f16");
  }

  @Test
  void an_unknown_method_of_the_demo_is_refused_before_anything_is_fetched() {
    CommandRun run = CommandRun.of("demo", "--method", "lara", "-o", folder.toString());

    isOneParagraph(run);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("the method lara is not known; known are ").contains("lora");
  }

  @Test
  void verbose_shows_where_an_error_came_from() {
    String missing = folder.resolve("none.yaml").toString();

    CommandRun run = CommandRun.of("train", missing, "--verbose");

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .startsWith("error: there is no recipe")
        .contains("RecipeException", "at espalier.recipes.RecipeFile.read");
  }

  @Test
  void a_full_heap_is_told_like_any_other_error() {
    var err = new StringWriter();
    var commands = Main.commandLine().setErr(new PrintWriter(err));
    commands.addSubcommand("greedy", new Greedy());

    int code = Main.execute(commands, "greedy");

    assertThat(code).isEqualTo(1);
    assertThat(err.toString()).startsWith("error: the Java heap of ").contains("-Xmx4g");
    assertThat(err.toString().lines()).hasSize(1);
  }

  @CommandLine.Command
  static final class Greedy implements Runnable {
    @Override
    public void run() {
      throw new OutOfMemoryError("Java heap space");
    }
  }
}
