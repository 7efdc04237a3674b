package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.nn.Scope;
import espalier.nn.Weights;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Logits of transformers 5.23 for traits of the families, from {@code src/test/python/golden.py}.
 */
class TraitsTest {

  // float32; the logits reach 30, and another order of summation moves them by a few 1e-6 of that
  private static final double LIMIT = 2e-4;

  @ParameterizedTest
  @CsvSource({
    "mistral, right", "mistral, left",
    "mistral_head_dim, right", "mistral_head_dim, left",
    "llama_biased, right", "llama_biased, left",
    "llama_dynamic, right", "llama_dynamic, left",
    "llama_yarn, right", "llama_yarn, left",
    "qwen2_sliding, right", "qwen2_sliding, left",
    "qwen3_moe, right", "qwen3_moe, left",
    "qwen3_moe_plain, right", "qwen3_moe_plain, left",
    "gemma3_scaled, right", "gemma3_scaled, left",
    "llama_scores, right", "llama_scores, left",
    "mistral_scores, right", "mistral_scores, left",
    "qwen2_scores, right", "qwen2_scores, left",
    "qwen3_scores, right", "qwen3_scores, left",
    "gemma3_scores, right", "gemma3_scores, left",
    "gpt2_scaled, right", "gpt2_scaled, left",
    "opt_after, right", "opt_after, left",
    "roberta, right", "roberta, left",
    "t5_gated, right", "t5_gated, left"
  })
  void logits_of_padded_rows_are_those_of_the_reference(String name, String side) {
    Weights file = Safetensors.read(Fixtures.golden(name + ".safetensors"));
    Weights in = file.at("in." + side);
    Tensor mask = in.get("attention_mask");
    Tensor expected = file.get("out." + side + ".logits");

    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = Fixtures.goldenModel(name)) {
      Tensor logits =
          model.logits(
              new ModelInputs(
                  in.get("input_ids"),
                  mask,
                  null,
                  null,
                  null,
                  in.find("decoder_input_ids"),
                  null,
                  null));

      Tensor difference = logits.sub(expected).abs();
      if (name.equals("gpt2_scaled") && side.equals("left")) {
        // positions of padding on the left are anybody's choice
        difference = difference.mul(mask.to(ScalarType.Float).unsqueeze(-1));
      }
      assertThat(logits.shape()).isEqualTo(expected.shape());
      assertThat(difference.max().item_double()).isLessThan(LIMIT);
    }
  }
}
