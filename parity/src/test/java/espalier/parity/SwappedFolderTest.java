package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An adapter of a folder in the place of one that a whole model has, while the model is used. */
final class SwappedFolderTest {

  private static PretrainedModel llama() {
    return GoldenModel.load(Path.of("models/llama"));
  }

  private static void save(Path folder, int r, long seed, boolean rslora) {
    try (PretrainedModel model = llama()) {
      model.attach(
          "any",
          LoraConfig.builder()
              .r(r)
              .rslora(rslora)
              .init(new LoraInit.Unset())
              .targets(Targets.named("q_proj", "down_proj"))
              .build(),
          seed);
      model.saveAdapter("any", folder);
    }
  }

  private static Tensor logits(PretrainedModel model) {
    return model.model().logits(ModelInputs.of(Tensor.create(new long[] {5, 9, 3}, 1, 3)));
  }

  private static Tensor alone(Path folder) {
    try (PretrainedModel model = llama()) {
      model.loadAdapter("one", folder);
      return logits(model);
    }
  }

  @Test
  void requests_beside_a_swap_see_the_old_adapter_or_the_new_one(@TempDir Path folder)
      throws InterruptedException {
    Path small = folder.resolve("small");
    Path large = folder.resolve("large");
    save(small, 2, 1, false);
    save(large, 4, 2, false);
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        PretrainedModel model = llama()) {
      Tensor first = alone(small);
      Tensor second = alone(large);
      model.loadAdapter("one", small);
      model.adapters().prepareSwap(4);
      var strange = new AtomicInteger();
      Thread requests =
          Thread.ofPlatform()
              .start(
                  () -> {
                    for (int i = 0; i < 40; i++) {
                      try (var _ = Scope.open();
                          var _ = new NoGradGuard()) {
                        Tensor seen = logits(model);
                        if (!near(seen, first) && !near(seen, second)) {
                          strange.incrementAndGet();
                        }
                      }
                    }
                  });

      while (requests.isAlive()) {
        model.swapAdapter("one", large);
        model.swapAdapter("one", small);
      }
      requests.join();

      assertThat(strange).hasValue(0);
      model.swapAdapter("one", large);
      assertThat(near(logits(model), second)).isTrue();
    }
  }

  @Test
  void a_folder_that_does_not_fit_is_named(@TempDir Path folder) {
    Path plain = folder.resolve("plain");
    Path other = folder.resolve("other");
    save(plain, 2, 1, false);
    save(other, 2, 2, true);
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        PretrainedModel model = llama()) {
      model.loadAdapter("one", plain);
      Tensor before = logits(model);

      assertThatThrownBy(() -> model.swapAdapter("one", other))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageStartingWith(other + ": use_rslora: false != true");
      assertThat(logits(model).equal(before)).isTrue();
    }
  }

  private static boolean near(Tensor one, Tensor two) {
    return one.allclose(two, 1e-5, 1e-4, false);
  }
}
