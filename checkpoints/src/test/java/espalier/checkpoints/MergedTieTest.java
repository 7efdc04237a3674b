package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.MergeResult;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A model whose embedding and output head share one weight, of which one is merged into. */
class MergedTieTest {

  private static final Path TIED = Path.of("..", "parity", "models", "llama_tied");

  private static Tensor logits(PretrainedModel model) {
    return model
        .model()
        .logits(ModelInputs.of(Tensor.create(new long[] {5, 9, 7, 11, 6, 8}, 1, 6), null));
  }

  @Test
  void the_saved_model_shares_no_weight_any_more_and_computes_the_same(@TempDir Path folder)
      throws IOException {
    LoraConfig config =
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Unset())
            .targets(Targets.named("embed_tokens"))
            .build();
    try (PretrainedModel model = PretrainedModel.load(TIED, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.attach("default", config, 1);
      Tensor before = logits(model);

      MergeResult merged = model.adapters().mergeAndUnload(true);
      model.save(folder, null);

      assertThat(merged.untied()).hasSize(1);
      assertThat(Files.readString(folder.resolve("config.json")).replace(" ", ""))
          .contains("\"tie_word_embeddings\":false");
      try (PretrainedModel again = PretrainedModel.load(folder, ScalarType.Float)) {
        assertThat(logits(again).sub(before).abs().max().item_double()).isLessThan(1e-4);
      }
    }
  }
}
