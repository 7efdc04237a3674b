package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.nn.Scope;
import espalier.nn.Weights;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HalfPrecisionTest {

  private static final Tensor IDS =
      Fixtures.ids(
          new long[] {0, 0, 22, 9, 3, 30, 8, 44, 12, 7},
          new long[] {11, 6, 19, 2, 9, 4, 3, 1, 0, 0});
  private static final Tensor MASK =
      Fixtures.ids(
          new long[] {0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, new long[] {1, 1, 1, 1, 1, 1, 1, 1, 0, 0});

  @ParameterizedTest
  @ValueSource(strings = {"llama", "gemma3_text", "gpt2", "opt", "bert", "t5", "mixtral", "qwen3"})
  void bfloat16_is_float32_but_for_rounding(String id) {
    Weights weights = Fixtures.weights(id);
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model half =
            Families.build(Fixtures.config(id), key -> to(weights.find(key), ScalarType.BFloat16));
        Model rounded =
            Families.build(
                Fixtures.config(id),
                key -> to(to(weights.find(key), ScalarType.BFloat16), ScalarType.Float))) {
      Tensor coarse = logits(half).to(ScalarType.Float);
      Tensor fine = logits(rounded);

      assertThat(half.dtype()).isEqualTo(ScalarType.BFloat16);
      // 8 bits through some twenty roundings of large random weights: the mean stays near
      double mean = coarse.sub(fine).abs().mean().item_double();
      assertThat(mean).isLessThan(0.06 * fine.abs().mean().item_double());
    }
  }

  private static @Nullable Tensor to(@Nullable Tensor tensor, ScalarType dtype) {
    return tensor == null ? null : tensor.to(dtype);
  }

  private static Tensor logits(Model model) {
    return model.logits(
        model.task() == Task.SEQ_2_SEQ_LM
            ? ModelInputs.answering(IDS, MASK, IDS)
            : ModelInputs.of(IDS, MASK));
  }
}
