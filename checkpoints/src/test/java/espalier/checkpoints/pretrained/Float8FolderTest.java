package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.ones;

import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.models.ModelInputs;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A folder whose linear weights are floats of 8 bits. */
class Float8FolderTest {

  private static final Path MODELS = Path.of("../parity/models");
  private static final String Q = "model.layers.0.self_attn.q_proj";

  @TempDir Path folder;

  /** A tiny model with all matrices inside of its blocks rounded to float8. */
  private Path write(String model, ScalarType form, Map<String, Tensor> more) throws IOException {
    Files.copy(MODELS.resolve(model).resolve("config.json"), folder.resolve("config.json"));
    try (var file = SafetensorsFile.open(MODELS.resolve(model).resolve("model.safetensors"));
        var _ = Scope.open()) {
      var tensors = new LinkedHashMap<String, Tensor>();
      for (String key : file.entries().keySet()) {
        Tensor tensor = file.tensor(key);
        boolean inside = tensor.dim() == 2 && key.matches(".*\\.\\d+\\..*");
        tensors.put(key, inside ? tensor.to(form) : tensor);
      }
      tensors.putAll(more);
      SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors);
    }
    return folder;
  }

  private static PretrainedModel load(Path path, ScalarType dtype, Quantisation how) {
    return PretrainedModel.load(path, dtype, how, "tiny", AdapterCatalog.standard());
  }

  private static Tensor logits(PretrainedModel model) {
    return model.model().logits(ModelInputs.of(Tensor.create(new long[] {5, 9, 2, 7, 4}, 1, 5)));
  }

  private static Linear linear(PretrainedModel model, String path) {
    return (Linear) Objects.requireNonNull(model.find(path));
  }

  @ParameterizedTest
  @CsvSource({
    "llama, Float8_e4m3fn, model.layers.0.self_attn.q_proj",
    "llama, Float8_e5m2, model.layers.1.mlp.down_proj",
    "gpt2, Float8_e4m3fn, transformer.h.0.attn.c_attn"
  })
  void kept_weights_take_a_byte_each_and_compute_what_widened_ones_do(
      String name, ScalarType form, String path) throws IOException {
    Path files = write(name, form, Map.of());
    try (var kept = load(files, ScalarType.Float, Quantisation.KEEP);
        var widened = load(files, ScalarType.Float, Quantisation.NONE);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {

      Tensor got = logits(kept);

      assertThat(got.allclose(logits(widened), 1e-5, 1e-5, false)).isTrue();
      assertThat(Objects.requireNonNull(linear(kept, path).quantised()).format())
          .isEqualToIgnoringCase(form.name());
      assertThat(kept.quantisedBytes()).isPositive().isEqualTo(kept.quantisedNumbers());
      assertThat(widened.quantisedBytes()).isZero();
    }
  }

  @Test
  void an_adapter_trains_and_merges_over_kept_weights() throws IOException {
    Path files = write("llama", ScalarType.Float8_e4m3fn, Map.of());
    LoraConfig lora =
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Unset())
            .targets(Targets.named("q_proj"))
            .build();
    try (var model = load(files, ScalarType.BFloat16, Quantisation.KEEP);
        var _ = Scope.graph()) {
      model.attach("default", lora, 1);
      logits(model).to(ScalarType.Float).square().sum().backward();

      assertThat(
              Objects.requireNonNull(model.adapters().on("default").get(Q)).parameters().values())
          .allMatch(p -> p.grad().abs().max().item_double() > 0)
          .allMatch(p -> p.scalar_type().intern() == ScalarType.Float);

      Tensor before = linear(model, Q).weight();
      model.adapters().mergeAndUnload(true);

      assertThat(linear(model, Q).weight().equal(before)).isFalse();
      assertThat(Objects.requireNonNull(linear(model, Q).quantised()).format())
          .isEqualTo("float8_e4m3fn");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"weight_scale", "weight_scale_inv"})
  void a_scale_beside_a_weight_in_float8_is_refused_by_name(String scale) throws IOException {
    try (var _ = Scope.open()) {
      write("llama", ScalarType.Float8_e4m3fn, Map.of(Q + "." + scale, ones(1)));
    }

    for (Quantisation how : new Quantisation[] {Quantisation.NONE, Quantisation.KEEP}) {
      assertThatThrownBy(() -> load(folder, ScalarType.Float, how))
          .isInstanceOf(CheckpointException.class)
          .hasMessageEndingWith(
              "%s.weight is F8_E4M3 with the scale %s.%s, which is not honoured: its values would be wrong by that factor; convert the checkpoint to bfloat16 with the tool that made it"
                  .formatted(Q, Q, scale));
    }
  }
}
