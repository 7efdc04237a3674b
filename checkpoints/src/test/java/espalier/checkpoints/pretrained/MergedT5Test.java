package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

/** T5 whose head is no longer the table of tokens: logits are scaled as they were. */
class MergedT5Test {

  private static Tensor logits(PretrainedModel model) {
    Tensor ids = Tensor.create(new long[] {5, 9, 7, 11}, 1, 4);
    return model.model().logits(ModelInputs.answering(ids, null, ids));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void the_saved_model_scales_its_logits_as_before(boolean tied, @TempDir Path folder)
      throws IOException {
    Path from = Path.of("..", "parity", "models", "t5");
    Path old = Files.createDirectory(folder.resolve("old"));
    Map<String, Object> config = ModelParts.JsonObjects.read(from.resolve("config.json"));
    config.remove("scale_decoder_outputs"); // as configs of older releases are
    config.put("tie_word_embeddings", tied);
    Files.writeString(old.resolve("config.json"), JsonMapper.shared().writeValueAsString(config));
    Files.copy(from.resolve("model.safetensors"), old.resolve("model.safetensors"));
    LoraConfig lora =
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Unset())
            .targets(Targets.named("lm_head"))
            .build();
    try (PretrainedModel model = PretrainedModel.load(old, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.attach("default", lora, 1);
      Tensor before = logits(model);

      model.adapters().mergeAndUnload(true);
      model.save(folder.resolve("new"), null);

      try (PretrainedModel again = PretrainedModel.load(folder.resolve("new"), ScalarType.Float)) {
        assertThat(logits(again).allclose(before, 1e-4, 1e-4, false)).isTrue();
      }
    }
  }
}
