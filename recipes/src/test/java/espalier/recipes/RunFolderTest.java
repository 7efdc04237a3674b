package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a run's folder holds, also after a run was killed at an unlucky moment. */
class RunFolderTest {

  @TempDir Path folder;

  private Recipe recipe(String output, String... more) throws IOException {
    if (!Files.exists(folder.resolve("model"))) {
      TinyChat.model(folder);
      TinyChat.data(folder, 12);
    }
    // A rate so large that training makes it worse: the best is not the last.
    String text =
        """
        model: %1$s/model
        dtype: f32
        adapter: {peft_type: LORA, r: 4, lora_alpha: 8, target_modules: all-linear}
        data: {train: %1$s/data.jsonl, eval_fraction: 0.25, max_length: 48}
        training:
          {steps: 40, batch_size: 4, learning_rate: 0.5, schedule: constant, warmup: 0, threads: 1,
           evaluate_every: 1, save_every: 1, early_stopping: {patience: 2}}
        output: %1$s/%2$s
        """
            .formatted(folder, output);
    return RecipeFile.parse(text, List.of(more));
  }

  private static TrainingState train(Recipe recipe, int breakAt, boolean resume) {
    try (var run = TrainingRun.open(recipe, new PowerCut(breakAt), _ -> {})) {
      assertThat(run.data().examples()).hasSize(9); // three are held out
      return run.train(resume);
    }
  }

  private Path tensors(String path) {
    return folder.resolve(path).resolve("adapter_model.safetensors");
  }

  @Test
  void the_best_adapter_is_found_by_a_run_that_was_killed_while_it_was_replaced()
      throws IOException {
    TrainingState end = train(recipe("whole"), 0, false);
    assertThatThrownBy(() -> train(recipe("killed"), end.step(), false))
        .hasMessage("the power went");
    Path checkpoints = folder.resolve("killed/checkpoints");
    Files.move(checkpoints.resolve("best"), checkpoints.resolve(".best.old"));

    train(recipe("killed"), 0, true);

    assertThat(end.step()).isLessThan(40); // stopped early
    assertThat(tensors("killed")).hasSameBinaryContentAs(tensors("whole"));
    assertThat(tensors("killed")).hasSameBinaryContentAs(tensors("killed/checkpoints/best"));
    assertThat(Files.mismatch(tensors("whole"), tensors("whole/checkpoints/step-" + end.step())))
        .isNotEqualTo(-1L);
    assertThat(checkpoints.resolve(".best.old")).doesNotExist();
  }

  @Test
  void what_stepped_aside_is_deleted_where_its_successor_stands() throws IOException {
    Path checkpoints = Files.createDirectories(folder.resolve("run/checkpoints"));
    Files.writeString(Files.createDirectory(checkpoints.resolve("best")).resolve("a"), "new");
    Files.writeString(Files.createDirectory(checkpoints.resolve(".best.old")).resolve("a"), "old");
    Files.createDirectory(checkpoints.resolve(".step-3.gone")); // half deleted

    var run = new RunFolder(folder.resolve("run"));
    run.create();

    assertThat(checkpoints.resolve("best/a")).hasContent("new");
    assertThat(checkpoints.resolve(".best.old")).doesNotExist();
    assertThat(run.newest()).isNull();
  }

  @Test
  void a_run_leaves_its_recipe_its_events_and_its_metrics_and_is_not_run_over() throws IOException {
    Recipe recipe = recipe("run", "training.steps=2", "training.learning_rate=1e-3");
    train(recipe, 0, false);

    Path run = folder.resolve("run");
    assertThat(RecipeFile.read(run.resolve("recipe.yaml"), List.of()).resolved())
        .isEqualTo(recipe.resolved())
        .contains("max_grad_norm: 1", "train_on: \"assistant\"");
    assertThat(run).isDirectoryContaining("glob:**/events.out.tfevents.*");
    assertThat(Files.readAllLines(run.resolve("metrics.jsonl")).getLast()).contains("\"step\":2");
    assertThatThrownBy(() -> train(recipe, 0, false))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining("holds a run already; add --resume");
    Recipe other = recipe("run", "training.steps=2", "training.learning_rate=2e-3");
    assertThatThrownBy(() -> train(other, 0, true))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining("training.learning_rate was 0.001 and is 0.002");
  }
}
