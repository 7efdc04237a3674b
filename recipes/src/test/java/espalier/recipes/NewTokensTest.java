package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.TensorFile;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import espalier.training.RunListener;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Recipes that add tokens, and the adapters that come of them. */
class NewTokensTest {

  private static final String LORA =
      "{peft_type: LORA, r: 2, lora_alpha: 4, target_modules: [q_proj]}";

  @TempDir Path folder;

  @BeforeEach
  void write_model_and_data() throws IOException {
    TinyChat.model(folder);
    var rows = new StringBuilder();
    for (String noun : List.of("oak", "elm", "fir", "ash")) {
      rows.append("{\"prompt\": \"%s\", \"completion\": \"<tree><leaf>\"}\n".formatted(noun));
    }
    Files.writeString(folder.resolve("data.jsonl"), rows);
  }

  private Recipe recipe(String output, String adapter, String... more) {
    String text =
        """
        model: %1$s/model
        dtype: f32
        adapter: %2$s
        add_tokens: [<tree>, <leaf>]
        data: {train: %1$s/data.jsonl, format: prompt-completion}
        training: {steps: 4, batch_size: 2, learning_rate: 0.05, save_every: 1, threads: 1}
        output: %1$s/%3$s
        """
            .formatted(folder, adapter, output);
    return RecipeFile.parse(text, List.of(more));
  }

  private static void train(Recipe recipe, int breakAt, boolean resume) {
    try (var run = TrainingRun.open(recipe, new PowerCut(breakAt), _ -> {})) {
      run.train(resume);
    }
  }

  private PretrainedModel model() {
    return PretrainedModel.load(folder.resolve("model"), ScalarType.Float);
  }

  private static Tensor logits(PretrainedModel model, String text) {
    long[] ids = Arrays.stream(model.tokenizer().encode(text, false)).asLongStream().toArray();
    return model.model().logits(ModelInputs.of(Tensor.create(ids, 1, ids.length)));
  }

  private Set<String> keys(String output) {
    try (TensorFile file =
        SafetensorsFile.open(folder.resolve(output + "/adapter_model.safetensors"))) {
      return Set.copyOf(file.entries().keySet());
    }
  }

  @Test
  void whoever_loads_the_adapter_has_its_tokens_and_says_what_the_run_said() throws IOException {
    Recipe recipe = recipe("run", LORA);
    try (var run = TrainingRun.open(recipe, new RunListener() {}, _ -> {});
        var model = model()) {
      run.train(false);
      run.model().model().train(false);
      int before = model.tokenizer().encode("an oak <tree>", false).length;
      model.loadAdapter("trees", folder.resolve("run"));

      int[] ids = model.tokenizer().encode("an oak <tree>", false);
      assertThat(ids).hasSizeLessThan(before);
      assertThat(model.tokenizer().token(ids[ids.length - 1])).isEqualTo("<tree>");
      try (var _ = Scope.open();
          var _ = new NoGradGuard()) {
        Tensor wanted = logits(run.model(), "an oak <tree><leaf>");
        assertThat(logits(model, "an oak <tree><leaf>").sub(wanted).abs().max().item_double())
            .isLessThan(1e-5);
      }
    }
    assertThat(keys("run"))
        .anyMatch(key -> key.endsWith("embed_tokens.token_adapter.trainable_tokens_delta"))
        .anyMatch(key -> key.endsWith("lm_head.token_adapter.trainable_tokens_delta"))
        .noneMatch(key -> key.endsWith("embed_tokens.weight") || key.endsWith("lm_head.weight"));
    assertThat(Files.readString(folder.resolve("run/recipe.yaml"))).contains("add_tokens:");
  }

  @Test
  void a_run_that_was_killed_and_resumed_ends_with_the_same_rows() {
    train(recipe("whole", LORA), 0, false);
    assertThatThrownBy(() -> train(recipe("killed", LORA), 3, false)).hasMessage("the power went");

    train(recipe("killed", LORA), 0, true);

    assertThat(folder.resolve("killed/adapter_model.safetensors"))
        .hasSameBinaryContentAs(folder.resolve("whole/adapter_model.safetensors"));
  }

  @Test
  void an_adapter_that_is_trained_on_brings_its_tokens() {
    train(recipe("first", LORA), 0, false);
    String text = recipe("second", LORA).resolved().replaceAll("(?m)^add_tokens:\\R(- .*\\R)+", "");
    Recipe second = RecipeFile.parse(text, List.of("adapter={from: '%s/first'}".formatted(folder)));

    train(second, 0, false);

    assertThat(keys("second")).isEqualTo(keys("first"));
    assertThat(folder.resolve("second/tokenizer.json"))
        .hasSameTextualContentAs(folder.resolve("first/tokenizer.json"));
  }

  @Test
  void layers_that_train_whole_need_no_rows_and_are_saved_whole() {
    String whole =
        "{peft_type: LORA, r: 2, target_modules: [q_proj], modules_to_save: [embed_tokens,"
            + " lm_head]}";

    train(recipe("run", whole), 0, false);

    assertThat(keys("run"))
        .anyMatch(key -> key.endsWith("embed_tokens.weight"))
        .noneMatch(key -> key.contains("token_adapter"));
    try (var model = model()) {
      model.loadAdapter("trees", folder.resolve("run"));
      assertThat(model.tokenizer().id("<leaf>")).isPresent();
    }
  }

  @Test
  void rows_that_the_recipe_trains_already_stay() {
    String more =
        "{peft_type: LORA, r: 2, target_modules: [q_proj], trainable_token_indices: [5, 7]}";
    try (var model = model()) {
      Recipe added = NewTokens.add(recipe("run", more), model, _ -> {});

      int tree = model.tokenizer().id("<tree>").orElseThrow();
      assertThat(added.adapter().get("trainable_token_indices"))
          .hasToString(
              "{\"model.embed_tokens\":[5,7,%1$d,%2$d],\"lm_head\":[%1$d,%2$d]}"
                  .formatted(tree, tree + 1));
    }
  }

  @Test
  void a_load_that_fails_leaves_the_model_without_the_tokens() throws IOException {
    train(recipe("run", LORA), 0, false);
    Files.writeString(folder.resolve("run/adapter_model.safetensors"), "broken");
    try (var model = model()) {
      int rows = model.model().config().vocabulary();
      var tokenizer = model.tokenizer();

      assertThatThrownBy(() -> model.loadAdapter("trees", folder.resolve("run")))
          .isInstanceOf(RuntimeException.class);

      assertThat(model.tokenizer()).isSameAs(tokenizer);
      assertThat(model.tokenizer().encode("<tree>", false)).isNotEmpty();
      assertThat(model.model().config().vocabulary()).isEqualTo(rows);
    }
  }

  @Test
  void a_tokenizer_of_another_kind_beside_an_adapter_changes_nothing() throws IOException {
    try (var model = model()) {
      model.attach("trees", RecipeAdapter.read(recipe("x", LORA).adapter()).config(), 1);
      model.saveAdapter("trees", folder.resolve("a"), SaveStart.AUTO, SaveEmbeddings.NO);
      assertThat(folder.resolve("a/tokenizer.json")).doesNotExist();
      Files.writeString(folder.resolve("a/tokenizer.json"), "{}");

      assertThat(model.missingTokens(folder.resolve("a"))).isEmpty();
    }
  }

  @Test
  void what_can_not_be_is_refused() {
    assertThatThrownBy(() -> train(recipe("x", "{peft_type: HIRA, r: 2}"), 0, false))
        .isInstanceOf(RecipeException.class)
        .hasMessage(
            "add_tokens needs rows of model.embed_tokens and lm_head that train, which HIRA has"
                + " not; put the layers into adapter.modules_to_save, or choose LORA");
    assertThatThrownBy(() -> recipe("x", "{from: somewhere}"))
        .isInstanceOf(RecipeException.class)
        .hasMessageStartingWith("add_tokens goes with a new adapter, but adapter has from");
    assertThatThrownBy(() -> recipe("x", LORA, "add_tokens=['']"))
        .isInstanceOf(RecipeException.class)
        .hasMessage("add_tokens has an empty text, which can be no token; leave it out");
  }
}
