package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Adaptable;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A run whose adapter took something out of the base, and a base that was exchanged since. */
class ResumeOnAnotherBaseTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";

  @TempDir Path folder;

  private Recipe recipe(Path model, Path data) {
    String text =
        """
        model: %s
        dtype: f32
        adapter: {peft_type: LORA, r: 4, target_modules: [q_proj], init_lora_weights: pissa}
        data: {train: %s, max_length: 64}
        training: {steps: 4, batch_size: 2, learning_rate: 1e-3, save_every: 2, threads: 1}
        output: %s
        """
            .formatted(model, data, folder.resolve("run"));
    return RecipeFile.parse(text, List.of());
  }

  private static void train(Recipe recipe, boolean resume, int breakAt) {
    try (var run = TrainingRun.open(recipe, new PowerCut(breakAt), _ -> {})) {
      run.train(resume);
    }
  }

  @Test
  void a_run_goes_on_with_its_own_base_only() throws IOException {
    Path model = TinyChat.model(folder);
    Recipe recipe = recipe(model, TinyChat.data(folder, 12));
    assertThatThrownBy(() -> train(recipe, false, 3)).hasMessage("the power went");
    Path own = Files.copy(model.resolve("model.safetensors"), folder.resolve("own"));
    exchange(model);

    assertThatThrownBy(() -> train(recipe, true, 9))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("the weight of %s is not the one that the adapter of".formatted(Q))
        .hasMessageContaining("was first put on");

    Files.copy(own, model.resolve("model.safetensors"), StandardCopyOption.REPLACE_EXISTING);
    train(recipe, true, 9);
    assertThat(folder.resolve("run").resolve("adapter_model.safetensors")).exists();
  }

  private void exchange(Path model) throws IOException {
    Path changed = folder.resolve("changed");
    try (PretrainedModel loaded = PretrainedModel.load(model, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var layer = (Adaptable) Objects.requireNonNull(loaded.find(Q));
      layer.rebase(layer.weight().mul(new Scalar(1.5)));
      loaded.save(changed, null);
    }
    Files.copy(
        changed.resolve("model.safetensors"),
        model.resolve("model.safetensors"),
        StandardCopyOption.REPLACE_EXISTING);
  }
}
