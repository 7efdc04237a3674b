package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.nn.Scope;
import espalier.recipes.RecipeFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Commands on a tiny model with an adapter that the reference library made. */
class ModelCommandsTest {

  private static final Path MODEL = Path.of("../parity/models/llama");
  private static final Path ADAPTER = Path.of("../parity/cases/lora_default_llama/adapter");

  @TempDir Path folder;

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.err()).doesNotContain("error:");
    assertThat(run.exitCode()).isZero();
    return run;
  }

  private Path inputs() {
    Path file = folder.resolve("inputs.safetensors");
    try (var _ = Scope.open()) {
      Tensor ids = torch.arange(new org.bytedeco.pytorch.Scalar(8L)).view(2, 4);
      SafetensorsWriter.write(file, Map.of("input_ids", ids.to(ScalarType.Long)));
    }
    return file;
  }

  private static double difference(Path a, Path b) {
    try (var _ = Scope.open();
        var first = SafetensorsFile.open(a);
        var second = SafetensorsFile.open(b)) {
      Tensor one = first.tensor("logits");
      assertThat(one.scalar_type().intern()).isEqualTo(ScalarType.Float);
      return one.sub(second.tensor("logits")).abs().max().item_double();
    }
  }

  @Test
  void a_merged_model_answers_as_the_model_with_its_adapter() {
    String in = inputs().toString();
    done("merge", "-m", MODEL.toString(), "-a", ADAPTER.toString(), "--out", at("merged"));

    done("logits", "-m", MODEL.toString(), "-a", ADAPTER.toString(), "-i", in, "-o", at("a"));
    done("logits", "-m", at("merged"), "-i", in, "-o", at("b"));
    done("logits", "-m", MODEL.toString(), "-i", in, "-o", at("base"));

    // float32: the reference saw 6e-6 between both ways
    assertThat(difference(folder.resolve("a"), folder.resolve("b"))).isCloseTo(0, within(5e-5));
    assertThat(difference(folder.resolve("a"), folder.resolve("base"))).isGreaterThan(0.1);
  }

  @Test
  void a_folder_with_something_in_it_is_not_merged_into() throws IOException {
    Files.writeString(folder.resolve("notes.txt"), "mine");

    CommandRun run =
        CommandRun.of(
            "merge", "-m", MODEL.toString(), "-a", ADAPTER.toString(), "-o", folder.toString());

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .isEqualToNormalizingNewlines(
            "error: --out %s is not empty, and what is there is never written over; choose another folder\n"
                .formatted(folder));
  }

  @Test
  void a_converted_model_has_the_dtype_that_was_asked_for() {
    done("convert", MODEL.toString(), "--out", at("half"));

    CommandRun run = done("inspect", at("half"), "--json");

    assertThat(run.out().lines().toList().getFirst()).contains("\"dtype\":\"BF16\"");
  }

  @Test
  void an_inspected_model_shows_its_tensors_its_size_and_its_config() {
    CommandRun run = done("inspect", MODEL.toString());

    assertThat(run.out())
        .startsWith("name ")
        .contains("model.layers.0.self_attn.q_proj.weight", " tensors, ", "\"model_type\"");
  }

  @Test
  void an_inspected_adapter_shows_its_config() {
    CommandRun run = done("inspect", ADAPTER.toString());

    assertThat(run.out()).contains("lora_A.weight", "\"peft_type\"");
  }

  @Test
  void a_file_of_tensors_is_inspected_without_a_folder() {
    CommandRun run = done("inspect", inputs().toString(), "--json");

    assertThat(run.out().lines())
        .containsExactly(
            "{\"name\":\"input_ids\",\"shape\":\"[2, 4]\",\"dtype\":\"I64\",\"bytes\":64}",
            "{\"tensors\":1,\"elements\":8,\"bytes\":64,\"config\":{\"format\":\"pt\"}}");
  }

  @Test
  void an_adapter_on_its_model_shows_rank_scaling_and_a_picture() {
    CommandRun run =
        done(
            "inspect",
            ADAPTER.toString(),
            "--model",
            MODEL.toString(),
            "--json",
            "--plot",
            at("norms.png"));

    assertThat(run.out().lines()).hasSize(4);
    assertThat(run.out()).contains("\"r\":4,\"scaling\":2.0,").contains("\"update_norm\":");
    assertThat(folder.resolve("norms.png")).isNotEmptyFile();
  }

  private static final String RECIPE =
      """
      model: ../parity/models/llama
      adapter: {peft_type: LORA, r: 4, lora_alpha: 8, target_modules: [q_proj, v_proj]}
      data: {train: rows.jsonl}
      output: runs/test
      """;

  @Test
  void a_recipe_is_explained_without_its_data() throws IOException {
    Path recipe = Files.writeString(folder.resolve("recipe.yaml"), RECIPE);

    CommandRun run = done("inspect", "--recipe", recipe.toString(), "--explain-targets");

    assertThat(run.out())
        .contains("model.layers.1.self_attn.v_proj")
        .contains("trainable params: ");
  }

  @Test
  void the_schema_is_printed() {
    assertThat(done("inspect", "--schema").out()).contains("\"Espalier recipe\"");
  }

  @Test
  void recipes_with_other_data_or_another_seed_are_told_apart() {
    var first = RecipeFile.parse(RECIPE, List.of());
    var second = RecipeFile.parse(RECIPE, List.of("training.seed=7", "data.train=other.jsonl"));

    assertThat(ComparedRun.unequal(List.of(first, first))).isEmpty();
    assertThat(ComparedRun.unequal(List.of(first, second)))
        .containsExactly(
            "the recipes differ in data, seed, so their results do not compare methods alone");
  }

  @Test
  void a_comparison_without_evaluation_data_is_refused_before_anything_is_trained()
      throws IOException {
    Path recipe = Files.writeString(folder.resolve("recipe.yaml"), RECIPE);

    CommandRun run = CommandRun.of("compare", recipe.toString(), "-o", at("compared"));

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("has no data to compare on");
    assertThat(folder.resolve("compared")).doesNotExist();
  }
}
