package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.models.KbitTraining;
import espalier.models.ModelInputs;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class QuantisedModelTest {

  private static final Path MODELS = Path.of("../parity/models");

  @TempDir Path folder;

  private static PretrainedModel load(String name, ScalarType dtype, Quantisation quantisation) {
    return load(MODELS.resolve(name), dtype, quantisation);
  }

  private static PretrainedModel load(Path path, ScalarType dtype, Quantisation quantisation) {
    return PretrainedModel.load(path, dtype, quantisation, "tiny", AdapterCatalog.standard());
  }

  private static Tensor logits(PretrainedModel model) {
    return model.model().logits(ModelInputs.of(Tensor.create(new long[] {5, 9, 2, 7, 4}, 1, 5)));
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  private static Linear linear(PretrainedModel model, String path) {
    return (Linear) Objects.requireNonNull(model.find(path));
  }

  @Test
  void codes_that_replicated_blocks_share_are_counted_once() {
    try (var model = load("llama", ScalarType.Float, Quantisation.INT8)) {
      long bytes = model.quantisedBytes();
      long numbers = model.quantisedNumbers();
      LoraConfig config =
          LoraConfig.builder()
              .targets(Targets.named("q_proj"))
              .layerReplication(List.of(List.of(0, 2), List.of(0, 2)))
              .build();

      model.attach("twice", config, 1);

      assertThat(model.find("model.layers.3.mlp.up_proj")).isNotNull();
      assertThat(model.quantisedBytes()).isEqualTo(bytes);
      assertThat(model.quantisedNumbers()).isEqualTo(numbers);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "llama, model.layers.0.mlp.up_proj",
    "gpt2, transformer.h.0.attn.c_attn",
    "opt, model.decoder.layers.0.fc1",
    "qwen3, model.layers.0.self_attn.q_proj"
  })
  void a_quantised_model_computes_what_its_decoded_weights_do(String name, String path) {
    for (Quantisation how :
        new Quantisation[] {
          Quantisation.NF4, Quantisation.FP4, Quantisation.INT8, Quantisation.INT4
        }) {
      try (var model = load(name, ScalarType.Float, how);
          var plain = load(name, ScalarType.Float, Quantisation.NONE);
          var _ = Scope.open();
          var _ = new NoGradGuard()) {
        Tensor coded = logits(model);

        assertThat(linear(model, path).quantised()).isNotNull();
        assertThat(gap(linear(model, path).weight(), linear(plain, path).weight()))
            .isBetween(1e-6, 0.5);
        assertThat(model.quantisedBytes()).isPositive();

        model.dequantise();

        assertThat(gap(coded, logits(model))).isLessThan(1e-4);
        assertThat(gap(coded, logits(plain))).isPositive();
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Quantisation.class,
      names = {"NF4", "FP4", "INT8"})
  void embeddings_norms_and_the_head_stay_plain(Quantisation how) {
    try (var model = load("llama", ScalarType.BFloat16, how)) {

      assertThat(model.model().namedParameters())
          .containsKeys("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
          .doesNotContainKey("model.layers.0.self_attn.q_proj.weight");
      assertThat(linear(model, "model.layers.0.self_attn.q_proj").dtype())
          .isEqualTo(ScalarType.BFloat16);
    }
  }

  @Test
  void a_saved_model_holds_the_values_that_the_codes_stand_for() {
    try (var model = load("llama", ScalarType.Float, Quantisation.NF4);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Path saved = folder.resolve("saved");

      model.save(saved, null);

      try (var again = load(saved, ScalarType.Float, Quantisation.NONE)) {
        assertThat(gap(logits(again), logits(model))).isLessThan(1e-4);
      }
    }
  }

  @Test
  void blocks_that_are_repeated_share_their_codes() {
    try (var model = load("llama", ScalarType.Float, Quantisation.NF4);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      try (var repetition = model.model().repeat(0, 1, 0)) {
        repetition.keep();
      }

      Linear first = linear(model, "model.layers.0.mlp.up_proj");
      Linear third = linear(model, "model.layers.2.mlp.up_proj");
      assertThat(third.weight().equal(first.weight())).isTrue();
      assertThat(logits(model).isfinite().all().item_bool()).isTrue();
    }
  }

  @Test
  void preparing_for_training_widens_all_but_the_codes() {
    try (var model = load("llama_tied", ScalarType.BFloat16, Quantisation.NF4);
        var _ = Scope.graph()) {
      KbitTraining.prepare(model.model());

      assertThat(model.model().namedParameters().values())
          .allMatch(p -> p.scalar_type().intern() == ScalarType.Float)
          .noneMatch(Tensor::requires_grad);
      Layer coded = model.find("model.layers.0.self_attn.q_proj");
      assertThat(((Linear) Objects.requireNonNull(coded)).dtype()).isEqualTo(ScalarType.BFloat16);
      assertThat(model.model().gradientCheckpointing()).isTrue();
      var tied = model.model().namedParameters();
      assertThat(Objects.requireNonNull(tied.get("lm_head.weight")).data_ptr().address())
          .isEqualTo(
              Objects.requireNonNull(tied.get("model.embed_tokens.weight")).data_ptr().address());
      assertThat(logits(model).scalar_type().intern()).isEqualTo(ScalarType.Float);
    }
  }
}
