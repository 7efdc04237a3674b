package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.lora.Arrow;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ArrowFoldersTest {

  private static final Path PARITY = Path.of("..", "parity");
  private static final Path CASE = PARITY.resolve("cases").resolve("arrow_llama");
  private static final LoraVariant.Arrow TWO = new LoraVariant.Arrow(2, 1, false, 1, null, null);

  private static PretrainedModel model() {
    return PretrainedModel.load(PARITY.resolve("models").resolve("llama"), ScalarType.Float);
  }

  private static Path task(int number) {
    return CASE.resolve("task_" + number);
  }

  @Test
  void a_router_is_saved_with_the_names_of_its_experts_and_loaded_beside_them(
      @TempDir Path folder) {
    try (PretrainedModel model = model();
        PretrainedModel other = model()) {
      ArrowFolders.create(model.adapters(), List.of(task(0), task(1)), List.of(), TWO);
      model.saveAdapter(Arrow.ROUTER, folder);

      other.loadAdapter("task_0", task(0));
      other.loadAdapter("task_1", task(1));
      other.loadAdapter(Arrow.ROUTER, folder);

      assertThat(other.adapters().config(Arrow.ROUTER).targets())
          .isEqualTo(model.adapters().config(Arrow.ROUTER).targets());
      assertThat(
              ((espalier.adapters.lora.LoraConfig) other.adapters().config(Arrow.ROUTER)).variant())
          .isEqualTo(new LoraVariant.Arrow(2, 1, false, 1, List.of("task_0", "task_1"), List.of()));
      assertThat(Arrow.of(other.adapters()).prototypes().keySet()).hasSize(6);
    }
  }

  @Test
  void experts_may_be_named_as_a_user_names_them() {
    try (PretrainedModel model = model();
        PretrainedModel other = model()) {
      ArrowFolders.create(model.adapters(), List.of(task(0), task(1)), List.of(), TWO);
      var names = List.of(task(0).toString(), task(1).toString());
      ArrowFolders.createNamed(other.adapters(), names, List.of(), TWO, _ -> {});

      assertThat(other.adapters().names()).isEqualTo(model.adapters().names());
      assertThatThrownBy(
              () ->
                  ArrowFolders.createNamed(
                      other.adapters(), List.of("hub:lonely"), List.of(), TWO, _ -> {}))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("'hub:lonely' is not the name of an adapter in a repository");
    }
  }

  @Test
  void a_folder_without_an_adapter_is_refused_and_nothing_is_loaded(@TempDir Path empty) {
    try (PretrainedModel model = model()) {
      assertThatThrownBy(
              () -> ArrowFolders.create(model.adapters(), List.of(task(0), empty), List.of(), TWO))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("has no adapter_config.json");
      assertThat(model.adapters().names()).isEmpty();
    }
  }

  @Test
  void an_expert_that_was_first_put_on_another_base_is_refused_and_nothing_is_loaded(
      @TempDir Path folder) {
    LoraConfig pissa =
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Pissa())
            .targets(Targets.named("q_proj"))
            .build();
    try (PretrainedModel model = model()) {
      model.attach("one", pissa, 1);
      model.saveAdapter("one", folder, SaveStart.AS_TRAINED);
    }

    try (PretrainedModel changed = model();
        PretrainedModel untouched = model()) {
      changed.attach("other", pissa, 1);
      assertThatThrownBy(
              () ->
                  ArrowFolders.create(changed.adapters(), List.of(folder, task(1)), List.of(), TWO))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("is not the one that the adapter of " + folder);
      assertThat(changed.adapters().names()).containsExactly("other");

      var one = new LoraVariant.Arrow(1, 1, false, 1, null, null);
      ArrowFolders.create(untouched.adapters(), List.of(folder), List.of(), one);
      assertThat(untouched.adapters().names()).containsExactly("task_0", Arrow.ROUTER);
    }
  }
}
