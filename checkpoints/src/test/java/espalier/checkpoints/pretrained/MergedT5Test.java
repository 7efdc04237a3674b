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
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.json.JsonMapper;

/** T5 whose table of tokens, which four layers share, is merged into under some of its names. */
class MergedT5Test {

  private static final Path T5 = Path.of("..", "parity", "models", "t5");

  private static Tensor logits(PretrainedModel model) {
    Tensor ids = Tensor.create(new long[] {5, 9, 7, 11}, 1, 4);
    return model.model().logits(ModelInputs.answering(ids, null, ids));
  }

  @ParameterizedTest
  @CsvSource({
    "lm_head, true", "lm_head, false",
    "shared, true", "shared, false",
    "encoder.embed_tokens, true", "encoder.embed_tokens, false",
    "embed_tokens, true", "embed_tokens, false"
  })
  void the_saved_model_computes_what_the_merged_one_does(
      String target, boolean tied, @TempDir Path folder) throws IOException {
    Path old = Files.createDirectory(folder.resolve("old"));
    Map<String, Object> config = ModelParts.JsonObjects.read(T5.resolve("config.json"));
    config.remove("scale_decoder_outputs"); // as configs of older releases are
    config.put("tie_word_embeddings", tied);
    Files.writeString(old.resolve("config.json"), JsonMapper.shared().writeValueAsString(config));
    Files.copy(T5.resolve("model.safetensors"), old.resolve("model.safetensors"));
    LoraConfig lora =
        LoraConfig.builder().r(2).init(new LoraInit.Unset()).targets(Targets.named(target)).build();
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

  @Test
  void a_table_that_is_merged_into_under_all_its_names_stays_one(@TempDir Path folder) {
    LoraConfig lora =
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Unset())
            .targets(Targets.named("shared"))
            .ensureWeightTying(true)
            .build();
    try (PretrainedModel model = PretrainedModel.load(T5, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Tensor base = logits(model);
      model.attach("default", lora, 1);
      Tensor adapted = logits(model);

      model.adapters().mergeAndUnload(true);
      model.save(folder, null);

      assertThat(adapted.allclose(base, 1e-2, 1e-2, false)).isFalse();
      try (PretrainedModel again = PretrainedModel.load(folder, ScalarType.Float)) {
        assertThat(logits(again).allclose(adapted, 1e-4, 1e-3, false)).isTrue();
        assertThat(again.model().tiedWeights().getFirst()).hasSize(4);
      }
    }
  }

  @Test
  void the_table_is_one_tensor_in_a_dtype_other_than_the_files_too(@TempDir Path folder)
      throws IOException {
    try (PretrainedModel model = PretrainedModel.load(T5, ScalarType.BFloat16);
        var _ = Scope.open()) {
      model.save(folder, null);

      Map<String, Tensor> all = model.model().namedParameters();
      assertThat(
              model.model().tiedWeights().getFirst().stream()
                  .map(name -> Objects.requireNonNull(all.get(name)).data_ptr().address())
                  .distinct())
          .hasSize(1);
      assertThat(Files.readString(folder.resolve("config.json")).replace(" ", ""))
          .contains("\"tie_word_embeddings\":true");
    }
  }
}
