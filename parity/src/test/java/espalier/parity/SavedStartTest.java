package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.ConfigException;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.StartConversion;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.nio.file.Path;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Folders of adapters whose start changed the base, put on the untouched model again. */
final class SavedStartTest {

  private static final Path MODEL = CasesFolder.module().resolve("models/llama");

  @TempDir Path folder;
  private Scope scope = Scope.open();

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static ModelInputs inputs() {
    return ModelInputs.of(Tensor.create(new long[] {5, 9, 7, 11, 6, 8}, 1, 6), null);
  }

  /** Attaches with a start, pretends to train, saves, and returns the logits. */
  private Tensor trained(LoraInit init, String name, SaveStart how) {
    try (PretrainedModel model = GoldenModel.load(MODEL);
        var _ = new NoGradGuard()) {
      var config = LoraConfig.builder().r(4).init(init).targets(Targets.named("q_proj")).build();
      model.attach("default", config, 1);
      for (Tensor p : model.adapters().parameters().values()) {
        p.add_(p.roll(1).mul(new Scalar(0.3)));
      }
      model.saveAdapter("default", folder.resolve(name), how);
      return model.model().logits(inputs());
    }
  }

  private Tensor loaded(String name) {
    try (PretrainedModel model = GoldenModel.load(MODEL);
        var _ = new NoGradGuard()) {
      assertThat(model.loadAdapter("default", folder.resolve(name)).warnings()).isEmpty();
      return model.model().logits(inputs());
    }
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  private LoraInit start(String name) {
    return ((LoraConfig) AdapterFiles.readConfig(folder.resolve(name), Adapting.CATALOG).config())
        .init();
  }

  @Test
  void every_way_of_saving_gives_the_trained_model_on_the_untouched_base() {
    for (LoraInit init : new LoraInit[] {new LoraInit.Pissa(), new LoraInit.FastPissa(1)}) {
      for (SaveStart how : SaveStart.values()) {
        String name = init.getClass().getSimpleName() + how;

        Tensor logits = trained(init, name, how);

        assertThat(gap(loaded(name), logits)).as(name).isLessThan(1e-4);
      }
    }
    assertThat(start("PissaAUTO")).isEqualTo(new LoraInit.Pissa());
    assertThat(start("FastPissaAUTO")).isEqualTo(new LoraInit.Uniform());
    assertThat(start("FastPissaAS_TRAINED")).isEqualTo(new LoraInit.FastPissa(1));
    assertThat(folder.resolve("PissaAS_TRAINED/initial")).doesNotExist();
  }

  @Test
  void a_folder_is_converted_with_the_first_values_that_lie_in_it() {
    Tensor logits = trained(new LoraInit.FastPissa(1), "raw", SaveStart.AS_TRAINED);
    Path raw = folder.resolve("raw");

    StartConversion.run(raw, raw.resolve("initial"), folder.resolve("plain"), Adapting.CATALOG);

    assertThat(gap(loaded("plain"), logits)).isLessThan(1e-4);
    assertThat(start("plain")).isEqualTo(new LoraInit.Uniform());
  }

  @Test
  void an_initial_adapter_that_would_change_the_base_again_is_refused() {
    Tensor _ = trained(new LoraInit.Pissa(), "pissa", SaveStart.AS_TRAINED);
    Path pissa = folder.resolve("pissa");

    assertThatThrownBy(
            () -> StartConversion.run(pissa, pissa, folder.resolve("no"), Adapting.CATALOG))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "init_lora_weights of the initial adapter is pissa but true is needed: it is the"
                + " factors alone, saved before training; save it with true");
    assertThat(folder.resolve("no")).doesNotExist();
  }
}
