package espalier.checkpoints.gguf;

import static espalier.checkpoints.gguf.GgufFileTest.numbers;
import static espalier.checkpoints.gguf.GgufFileTest.shape;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.CheckpointException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.api.AbstractStringAssert;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class GgufModelTest {

  private static final String LAYER = "model.layers.0.";

  @TempDir Path folder;

  @Test
  void llama_has_its_config() {
    var model = model(TinyModels.llama());

    assertThat(model.config())
        .containsEntry("architectures", List.of("LlamaForCausalLM"))
        .containsEntry("model_type", "llama")
        .containsEntry("vocab_size", 3L)
        .containsEntry("hidden_size", 4L)
        .containsEntry("intermediate_size", 6L)
        .containsEntry("num_hidden_layers", 1L)
        .containsEntry("num_attention_heads", 2L)
        .containsEntry("num_key_value_heads", 1L)
        .containsEntry("head_dim", 4L)
        .containsEntry("rms_norm_eps", 1e-6)
        .containsEntry("rope_theta", 5e5)
        .containsEntry("rope_scaling", null)
        .containsEntry("max_position_embeddings", 64L)
        .containsEntry("hidden_act", "silu")
        .containsEntry("tie_word_embeddings", true)
        .containsEntry("attention_bias", false)
        .containsEntry("mlp_bias", false)
        .containsEntry("bos_token_id", 1L)
        .containsEntry("eos_token_id", 2L);
  }

  @Test
  void llama_has_the_names_of_the_hub() {
    var model = model(TinyModels.llama());

    assertThat(model.names())
        .containsExactlyInAnyOrder(
            "model.embed_tokens.weight",
            "model.norm.weight",
            LAYER + "input_layernorm.weight",
            LAYER + "self_attn.q_proj.weight",
            LAYER + "self_attn.k_proj.weight",
            LAYER + "self_attn.v_proj.weight",
            LAYER + "self_attn.o_proj.weight",
            LAYER + "post_attention_layernorm.weight",
            LAYER + "mlp.gate_proj.weight",
            LAYER + "mlp.up_proj.weight",
            LAYER + "mlp.down_proj.weight");
  }

  @Test
  void the_rows_of_llamas_queries_and_keys_are_put_back_in_order() {
    var model = model(TinyModels.llama());

    try (var _ = new PointerScope()) {
      // The file has the halves of each head of 4 interleaved: 0 2 1 3 is what was 0 1 2 3.
      assertThat(firstColumn(model, LAYER + "self_attn.q_proj.weight"))
          .containsExactly(0, 2 * 4, 1 * 4, 3 * 4, 4 * 4, 6 * 4, 5 * 4, 7 * 4);
      assertThat(firstColumn(model, LAYER + "self_attn.k_proj.weight"))
          .containsExactly(0, 2 * 4, 1 * 4, 3 * 4);
      assertThat(firstColumn(model, LAYER + "self_attn.v_proj.weight"))
          .containsExactly(0, 4, 8, 12);
    }
  }

  @Test
  void rows_read_alone_are_rows_in_that_order() {
    var model = model(TinyModels.llama());

    try (var _ = new PointerScope()) {
      Tensor rows = model.dequantiseRows(LAYER + "self_attn.q_proj.weight", 1, 3, ScalarType.Float);

      assertThat(shape(rows)).containsExactly(2, 4);
      assertThat(numbers(rows)).containsExactly(8, 9, 10, 11, 4, 5, 6, 7);
    }
  }

  @Test
  void llamas_biases_are_reordered_too() {
    var file = TinyModels.llama();
    for (String name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
      file.counting("blk.0." + name + ".bias", name.equals("attn_q") ? 8 : 4);
    }
    var model = model(file);

    try (var _ = new PointerScope()) {
      assertThat(model.config()).containsEntry("attention_bias", true);
      assertThat(numbers(model.tensor(LAYER + "self_attn.q_proj.bias", ScalarType.Float)))
          .containsExactly(0, 2, 1, 3, 4, 6, 5, 7);
      assertThat(numbers(model.tensor(LAYER + "self_attn.o_proj.bias", ScalarType.Float)))
          .containsExactly(0, 1, 2, 3);
    }
  }

  @Test
  void an_output_tensor_is_a_head_of_its_own() {
    var model = model(TinyModels.llama().counting("output.weight", 3, 4));

    assertThat(model.names()).contains("lm_head.weight");
    assertThat(model.config()).containsEntry("tie_word_embeddings", false);
  }

  @Test
  void a_window_makes_llama_mistral() {
    var model = model(TinyModels.llama().key("llama.attention.sliding_window", 4096));

    assertThat(model.config())
        .containsEntry("model_type", "mistral")
        .containsEntry("sliding_window", 4096L)
        .doesNotContainKey("attention_bias");
  }

  @Test
  void experts_make_llama_mixtral_and_are_unstacked() {
    var model = model(TinyModels.mixtral());

    String moe = LAYER + "block_sparse_moe.";
    try (var _ = new PointerScope()) {
      assertThat(model.config())
          .containsEntry("model_type", "mixtral")
          .containsEntry("num_local_experts", 2L)
          .containsEntry("num_experts_per_tok", 1L)
          .containsEntry("sliding_window", null);
      assertThat(model.shape(moe + "gate.weight")).containsExactly(2L, 4L);
      assertThat(model.shape(moe + "experts.0.w1.weight")).containsExactly(6L, 4L);
      assertThat(model.shape(moe + "experts.1.w2.weight")).containsExactly(4L, 6L);
      assertThat(numbers(model.tensor(moe + "experts.1.w3.weight", ScalarType.Float)))
          .startsWith(24, 25)
          .endsWith(47);
      assertThat(numbers(model.dequantiseRows(moe + "experts.1.w2.weight", 3, 4, ScalarType.Float)))
          .containsExactly(42, 43, 44, 45, 46, 47);
    }
  }

  @Test
  void old_mixtrals_have_a_tensor_for_each_expert() {
    var file = TinyModels.mixtral();
    for (String name : List.of("gate", "up", "down")) {
      file.without("blk.0.ffn_" + name + "_exps.weight");
      for (int expert = 0; expert < 2; expert++) {
        file.counting("blk.0.ffn_" + name + "." + expert + ".weight", 6, 4);
      }
    }

    assertThat(model(file).names()).contains(LAYER + "block_sparse_moe.experts.1.w2.weight");
  }

  @Test
  void qwen2_keeps_its_rows_and_has_biases() {
    var model = model(TinyModels.qwen2());

    try (var _ = new PointerScope()) {
      assertThat(model.config())
          .containsEntry("model_type", "qwen2")
          .containsEntry("use_sliding_window", false);
      assertThat(firstColumn(model, LAYER + "self_attn.q_proj.weight"))
          .containsExactly(0, 4, 8, 12, 16, 20, 24, 28);
      assertThat(numbers(model.tensor(LAYER + "self_attn.k_proj.bias", ScalarType.Float)))
          .containsExactly(0, 1, 2, 3);
    }
  }

  @Test
  void qwen3_norms_its_heads() {
    var model = model(TinyModels.qwen3());

    assertThat(model.config())
        .containsEntry("model_type", "qwen3")
        .containsEntry("head_dim", 4L)
        .containsEntry("attention_bias", false);
    assertThat(model.names())
        .contains(LAYER + "self_attn.q_norm.weight", LAYER + "self_attn.k_norm.weight");
  }

  @Test
  void qwen3_with_experts_has_qwens_names_for_them() {
    var model = model(TinyModels.qwen3Moe());

    assertThat(model.config())
        .containsEntry("model_type", "qwen3_moe")
        .containsEntry("num_experts", 2L)
        .containsEntry("num_experts_per_tok", 1L)
        .containsEntry("moe_intermediate_size", 2L)
        .containsEntry("norm_topk_prob", true);
    assertThat(model.names())
        .contains(LAYER + "mlp.gate.weight", LAYER + "mlp.experts.1.down_proj.weight");
  }

  @Test
  void gemmas_norms_lose_the_one_that_was_added() {
    var model = model(TinyModels.gemma3());

    try (var _ = new PointerScope()) {
      for (String norm :
          List.of(
              "model.norm.weight",
              LAYER + "input_layernorm.weight",
              LAYER + "post_attention_layernorm.weight",
              LAYER + "pre_feedforward_layernorm.weight",
              LAYER + "post_feedforward_layernorm.weight",
              LAYER + "self_attn.q_norm.weight",
              LAYER + "self_attn.k_norm.weight")) {
        assertThat(numbers(model.tensor(norm, ScalarType.Float))).containsExactly(-1, 0, 1, 2);
      }
      assertThat(firstColumn(model, LAYER + "self_attn.q_proj.weight")).startsWith(0, 4, 8);
    }
  }

  @Test
  void gemma_has_a_window_in_five_of_six_layers() {
    var file = TinyModels.gemma3();
    var one = model(file).config();
    var listed =
        model(file.key("gemma3.attention.sliding_window_pattern", List.of(false))).config();
    var capped = model(file.key("gemma3.final_logit_softcapping", 30f)).config();

    assertThat(one)
        .containsEntry("model_type", "gemma3_text")
        .containsEntry("sliding_window", 512L)
        .containsEntry("layer_types", List.of("sliding_attention"))
        .containsEntry("rope_theta", 1e6)
        .containsEntry("rope_local_base_freq", 1e4)
        .containsEntry("query_pre_attn_scalar", 4L)
        .containsEntry("final_logit_softcapping", null)
        .containsEntry("hidden_activation", "gelu_pytorch_tanh");
    assertThat(listed).containsEntry("layer_types", List.of("full_attention"));
    assertThat(capped).containsEntry("final_logit_softcapping", 30.0);
  }

  @Test
  void gpt2s_projections_are_transposed() {
    var model = model(TinyModels.gpt2());

    String cAttn = "transformer.h.0.attn.c_attn.weight";
    try (var _ = new PointerScope()) {
      Tensor weight = model.tensor(cAttn, ScalarType.Float);

      assertThat(model.shape(cAttn)).containsExactly(4L, 12L);
      assertThat(shape(weight)).containsExactly(4, 12);
      assertThat(weight.is_contiguous()).isTrue();
      assertThat(numbers(weight)).startsWith(0, 4, 8, 12).endsWith(47);
    }
    assertThat(model.config())
        .containsEntry("model_type", "gpt2")
        .containsEntry("n_embd", 4L)
        .containsEntry("n_layer", 1L)
        .containsEntry("n_head", 2L)
        .containsEntry("n_inner", 16L)
        .containsEntry("n_positions", 5L)
        .containsEntry("layer_norm_epsilon", 1e-5)
        .containsEntry("activation_function", "gelu_new");
    assertThat(model.names())
        .contains("transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.bias")
        .contains("transformer.h.0.ln_1.bias", "transformer.h.0.mlp.c_fc.weight")
        .hasSize(16);
    assertThatThrownBy(() -> model.dequantiseRows(cAttn, 0, 1, ScalarType.Float))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "blk.0.attn_qkv.weight is stored transposed, so its rows are spread over the file;"
                + " read it whole");
  }

  @Test
  void stretched_positions_are_in_the_config() {
    var linear = TinyModels.llama().key("llama.rope.scaling.factor", 2f);
    var yarn =
        TinyModels.qwen2()
            .key("qwen2.rope.scaling.type", "yarn")
            .key("qwen2.rope.scaling.factor", 4f)
            .key("qwen2.rope.scaling.original_context_length", 32768)
            .key("qwen2.rope.scaling.yarn_beta_fast", 32f);

    assertThat(model(linear).config())
        .containsEntry("rope_scaling", Map.of("rope_type", "linear", "factor", 2.0));
    assertThat(model(yarn).config())
        .containsEntry(
            "rope_scaling",
            Map.of(
                "rope_type",
                "yarn",
                "factor",
                4.0,
                "original_max_position_embeddings",
                32768L,
                "beta_fast",
                32.0));
  }

  @Test
  void llama_3s_stretching_is_found_in_its_tensor() {
    float[] divisors = new float[64];
    for (int i = 0; i < divisors.length; i++) {
      double wave = 2 * Math.PI * Math.pow(5e5, i / 64.0);
      double smooth = Math.clamp((8192 / wave - 1) / 3, 0, 1);
      divisors[i] = (float) (1 / ((1 - smooth) / 32 + smooth));
    }
    var file = wide().floats("rope_freqs.weight", divisors, 64);

    assertThat(model(file).config())
        .containsEntry(
            "rope_scaling",
            Map.of(
                "rope_type", "llama3",
                "factor", 32.0,
                "low_freq_factor", 1.0,
                "high_freq_factor", 4.0,
                "original_max_position_embeddings", 8192L));
  }

  @Test
  void divisors_that_no_settings_give_are_refused() {
    float[] divisors = new float[64];
    for (int i = 0; i < divisors.length; i++) {
      divisors[i] = 1 + i % 7;
    }

    refused(wide().floats("rope_freqs.weight", divisors, 64))
        .endsWith(
            "no settings of Llama 3.1's rope scaling give the numbers in the tensor"
                + " rope_freqs.weight; use the model's original files");
  }

  @Test
  void several_tokens_that_end_a_text_are_a_list() {
    var model = model(TinyModels.llama().key("tokenizer.ggml.eot_token_id", 0));

    assertThat(model.config()).containsEntry("eos_token_id", List.of(2L, 0L));
  }

  @Test
  void an_architecture_that_is_not_read_is_named() {
    refused(new TinyGguf().key("general.architecture", "mamba"))
        .endsWith(
            "general.architecture is mamba, but gemma3, gpt2, llama, qwen2, qwen3, qwen3moe are"
                + " read; use the model's original files");
  }

  static Stream<Arguments> settingsThatChangeTheNumbers() {
    return Stream.of(
        Arguments.of("llama.attention.scale", 0.5f, "is 0.5, which would change"),
        Arguments.of("llama.final_logit_softcapping", 30f, "is 30, which would change"),
        Arguments.of("llama.attn_logit_softcapping", 50f, "is 50, which would change"),
        Arguments.of("llama.logit_scale", 0.0625f, "is 0.0625, which would change"),
        Arguments.of("llama.attention.causal", false, "is false, which would change"),
        Arguments.of("llama.rope.dimension_count", 2, "is 2, which would change"),
        Arguments.of("llama.rope.scaling.attn_factor", 2f, "is 2, which would change"),
        Arguments.of("llama.rope.scaling.type", "longrope", "is longrope but none, linear and"),
        Arguments.of("llama.attention.head_count_kv", 0, "is 0 but must divide the 2 heads"),
        Arguments.of("llama.some.new_list", List.of(1, 2), "is an array of 2, but that setting"),
        Arguments.of("llama.some.new_key", 1, "is 1, but that setting is not known for llama"),
        Arguments.of("llama.feed_forward_length", List.of(6, 8), "differs from layer to layer"),
        Arguments.of("llama.block_count", 2, "is missing, which this architecture needs"),
        Arguments.of("llama.block_count", 1 << 30, "block_count is 1073741824, but the file has"),
        Arguments.of("general.type", "mmproj", "general.type is mmproj, but only a model"),
        Arguments.of("split.count", (short) 3, "the file is one of 3 parts"),
        Arguments.of("general.quantization_version", 1, "is 1, but the blocks of version 2"));
  }

  @ParameterizedTest
  @MethodSource("settingsThatChangeTheNumbers")
  void a_setting_that_would_change_the_numbers_is_refused(
      String key, Object value, String expected) {
    refused(TinyModels.llama().key(key, value)).contains(expected);
  }

  @Test
  void a_setting_that_says_what_holds_anyway_is_no_matter() {
    var file =
        TinyModels.llama()
            .key("llama.attention.causal", true)
            .key("llama.logit_scale", 1f)
            .key("llama.rope.scaling.type", "none")
            .key("llama.expert_count", 0)
            .key("llama.feed_forward_length", List.of(6))
            .key("other.setting", 3);

    assertThat(model(file).config()).containsEntry("model_type", "llama");
  }

  @Test
  void tensors_that_are_missing_or_too_many_or_of_another_shape_are_refused() {
    refused(TinyModels.llama().without("blk.0.attn_q.weight"))
        .endsWith(
            "the tensor blk.0.attn_q.weight is missing, which this architecture needs; fetch the"
                + " file again");
    refused(TinyModels.llama().counting("blk.0.attn_q_norm.weight", 4))
        .contains("the tensor blk.0.attn_q_norm.weight has no place in this architecture");
    refused(TinyModels.llama().counting("blk.0.attn_q.weight", 6, 4))
        .contains("blk.0.attn_q.weight is F32 [6, 4] but must be a multiple of the 4 rows");
    refused(TinyModels.mixtral().counting("blk.0.ffn_up_exps.weight", 3, 6, 4))
        .contains("blk.0.ffn_up_exps.weight is F32 [3, 6, 4] but must be [2 experts, out, in]");
  }

  @Test
  void a_name_that_is_not_there_is_the_callers_mistake() {
    var model = model(TinyModels.llama());

    assertThatThrownBy(() -> model.tensor("lm_head.weight", ScalarType.Float))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageEndingWith(
            "tiny.gguf has no tensor lm_head.weight; GgufModel.names() lists those that it has");
  }

  /** A llama whose head has 128 rows, as those of Llama 3. */
  private static TinyGguf wide() {
    return TinyModels.llama()
        .key("llama.attention.key_length", 128)
        .key("llama.attention.value_length", 128)
        .key("llama.rope.dimension_count", 128)
        .counting("blk.0.attn_q.weight", 256, 4)
        .counting("blk.0.attn_k.weight", 128, 4);
  }

  private GgufModel model(TinyGguf file) {
    return GgufModel.of(GgufFile.open(file.write(folder)));
  }

  private AbstractStringAssert<?> refused(TinyGguf file) {
    return assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(() -> model(file))
        .extracting(CheckpointException::getMessage)
        .asString();
  }

  private static float[] firstColumn(GgufModel model, String name) {
    float[] all = numbers(model.tensor(name, ScalarType.Float));
    int rows = all.length / 4;
    float[] column = new float[rows];
    IntStream.range(0, rows).forEach(row -> column[row] = all[row * 4]);
    return column;
  }
}
