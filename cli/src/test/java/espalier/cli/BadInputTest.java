package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Wrong input gives one paragraph and an exit code, and leaves nothing half-written. */
class BadInputTest {

  private static final String LORA = "{peft_type: LORA, r: 4}";
  private static final Path ADAPTER = Path.of("../parity/cases/lora_default_llama/adapter");

  @TempDir Path folder;

  private Recipes recipes = new Recipes(Path.of(""));

  @BeforeEach
  void write() throws IOException {
    recipes = Recipes.in(folder);
  }

  private static String refused(int code, String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.exitCode()).as(run.err()).isEqualTo(code);
    assertThat(run.out()).isEmpty();
    assertThat(run.err().lines().filter(line -> line.startsWith("error: "))).hasSize(1);
    String last = run.err().lines().reduce((_, line) -> line).orElse("");
    assertThat(last).startsWith("error: ");
    return last;
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "adapter.lora_alpa=8|adapter.lora_alpa is not a field of LORA; nearest is lora_alpha",
        "adapter.init_lora_weights=loftq,adapter.loftq_config={loftq_bit: 4}|nearest is"
            + " loftq_config.loftq_bits",
        "training.optimizer={type: adamw, bata1: 0.8}|training.optimizer.bata1",
        "adapter.target_modules=[q_prj]|q_proj",
        "training.schedule=cosin|training.schedule is \"cosin\""
      })
  void a_misspelt_recipe_is_refused_before_a_run_begins(String settings, String message)
      throws IOException {
    var arguments = new ArrayList<>(List.of("train"));
    arguments.add(recipes.write("run", LORA));
    for (String setting : settings.split(",(?=adapter)", -1)) {
      arguments.add("--set");
      arguments.add(setting);
    }

    assertThat(refused(2, arguments.toArray(String[]::new))).contains(message);
    assertThat(folder.resolve("run")).doesNotExist();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {"''|no rows", "{\"question\": \"elm?\"}|messages", "{\"messages\": |rows.jsonl"})
  void data_that_can_not_be_learned_is_named(String row, String message) throws IOException {
    Files.writeString(folder.resolve("rows.jsonl"), row.isEmpty() ? "" : row + "\n");
    CommandRun run = CommandRun.of("train", recipes.write("run", LORA));

    assertThat(run.exitCode()).isIn(1, 2);
    assertThat(run.err().lines()).hasSize(1);
    assertThat(run.err()).startsWith("error: ").contains("rows.jsonl", message);
    assertThat(folder.resolve("run")).doesNotExist();
  }

  @Test
  void a_folder_in_use_is_left_alone_and_a_run_goes_on_with_its_own_recipe_only()
      throws IOException {
    String recipe = recipes.write("run", LORA);
    assertThat(CommandRun.of("train", recipe, "--quiet").exitCode()).isZero();
    byte[] adapter = Files.readAllBytes(folder.resolve("run/adapter_model.safetensors"));

    assertThat(refused(2, "train", recipe)).contains("holds a run already; add --resume");
    assertThat(refused(2, "train", recipe, "--resume", "--set", "training.seed=7"))
        .contains("the run began with another recipe: training.seed was 42 and is 7");
    assertThat(folder.resolve("run/adapter_model.safetensors")).hasBinaryContent(adapter);
  }

  @Test
  void a_loss_that_is_no_number_ends_the_run_and_leaves_no_adapter() throws IOException {
    poison(folder.resolve("model/model.safetensors"), "model.norm.weight");

    String error = refused(1, "train", recipes.write("run", LORA));

    assertThat(error).contains("step 1: ").containsPattern("NaN|finite");
    assertThat(folder.resolve("run/adapter_model.safetensors")).doesNotExist();
    assertThat(folder.resolve("run/checkpoints")).isEmptyDirectory();
  }

  @Test
  void a_run_that_ended_before_its_first_checkpoint_is_begun_again_with_another_recipe()
      throws IOException {
    Path weights = folder.resolve("model/model.safetensors");
    byte[] sound = Files.readAllBytes(weights);
    poison(weights, "model.norm.weight");
    String recipe = recipes.write("run", LORA);
    refused(1, "train", recipe);
    Files.write(weights, sound);

    CommandRun again =
        CommandRun.of("train", recipe, "--quiet", "--set", "training.learning_rate=1e-3");

    assertThat(again.exitCode()).as(again.err()).isZero();
    assertThat(folder.resolve("run/adapter_model.safetensors")).isNotEmptyFile();
    assertThat(folder.resolve("run/recipe.yaml")).content().contains("learning_rate: 0.001");
  }

  @Test
  void a_warm_up_as_long_as_the_run_is_told() throws IOException {
    CommandRun run =
        CommandRun.of("train", recipes.write("run", LORA), "--quiet", "--set", "training.warmup=5");

    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.err()).contains("training.warmup is 5 steps but the run has 3");
  }

  /** Makes one tensor of a file NaN; all of them, where the name is empty. */
  private static void poison(Path file, String name) throws IOException {
    try (var _ = Scope.open()) {
      var tensors = new LinkedHashMap<String, Tensor>();
      try (var read = SafetensorsFile.open(file)) {
        read.entries()
            .keySet()
            .forEach(
                key -> {
                  Tensor tensor = read.tensor(key).clone();
                  tensors.put(
                      key, key.contains(name) ? tensor.fill_(new Scalar(Double.NaN)) : tensor);
                });
      }
      Files.delete(file);
      SafetensorsWriter.write(file, tensors, Map.of("format", "pt"));
    }
  }

  private Path adapter(String name) throws IOException {
    Path copy = Files.createDirectory(folder.resolve(name));
    for (String file : new String[] {"adapter_config.json", "adapter_model.safetensors"}) {
      Files.copy(ADAPTER.resolve(file), copy.resolve(file));
    }
    return copy;
  }

  @Test
  void an_adapter_that_is_not_finite_is_not_merged_safely() throws IOException {
    Path nan = adapter("nan");
    poison(nan.resolve("adapter_model.safetensors"), "lora_B");

    String error =
        refused(
            1,
            "merge",
            "-m",
            recipes.model(),
            "-a",
            nan.toString(),
            "--safe",
            "-o",
            recipes.at("merged"));

    assertThat(error).contains("model.layers.0.", "not finite; nothing was merged");
    assertThat(folder.resolve("merged")).doesNotExist();
  }

  @Test
  void an_adapter_of_another_model_is_refused_with_the_layer() throws IOException {
    String error =
        refused(
            1,
            "merge",
            "-m",
            "../parity/models/llama_wide",
            "-a",
            ADAPTER.toString(),
            "-o",
            recipes.at("merged"));

    assertThat(error).contains("self_attn.");
    assertThat(folder.resolve("merged")).doesNotExist();
  }

  @ParameterizedTest
  @CsvSource({"model.safetensors, 200", "model.safetensors, 20000", "other.gguf, 24"})
  void a_truncated_file_is_named(String name, int bytes) throws IOException {
    Path whole =
        name.endsWith("gguf") ? gguf("whole.gguf") : folder.resolve("model/model.safetensors");
    byte[] all = Files.readAllBytes(whole);
    Path model = name.endsWith("gguf") ? folder.resolve(name) : folder.resolve("model");
    Path file = Files.isDirectory(model) ? model.resolve(name) : model;
    Files.write(file, Arrays.copyOf(all, bytes));

    String error = refused(1, "generate", "-m", model.toString(), "-p", "x");

    assertThat(error).contains(name);
  }

  private Path gguf(String name) {
    Path file = folder.resolve(name);
    CommandRun run =
        CommandRun.of(
            "convert",
            ADAPTER.toString(),
            "-m",
            recipes.model(),
            "--to",
            "gguf-adapter",
            "-o",
            file.toString());
    assertThat(run.exitCode()).as(run.err()).isZero();
    return file;
  }
}
