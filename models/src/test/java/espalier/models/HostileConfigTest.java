package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Weights;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class HostileConfigTest {

  private static final List<String> MODELS =
      List.of("llama", "opt", "gpt2", "qwen2", "qwen3", "gemma3_text", "bert", "t5", "mixtral");

  @Test
  void an_unknown_family_is_named_beside_those_that_are_known() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("llama", "model_type", "mamba"))
        .withMessage(
            "config field model_type = mamba is not a family that can be built; known are bert,"
                + " gemma3_text, gpt2, llama, mistral, mixtral, opt, qwen2, qwen3, qwen3_moe,"
                + " roberta, t5");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("llama", "model_type", 7))
        .withMessageContaining("model_type = 7");
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void a_wrong_value_is_refused_with_the_name_of_its_field(
      String model, String field, Object value) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build(model, field, value))
        .withMessageContaining("config field " + field + " = ");
  }

  static Stream<Arguments> wrong() {
    return Stream.of(
        Arguments.of("llama", "hidden_size", "32"),
        Arguments.of("llama", "hidden_size", -32),
        Arguments.of("llama", "hidden_size", 0),
        Arguments.of("llama", "hidden_size", 4_000_000_000L),
        Arguments.of("llama", "hidden_size", 32.0),
        Arguments.of("llama", "num_hidden_layers", 1_000_000),
        Arguments.of("llama", "num_hidden_layers", List.of(2)),
        Arguments.of("llama", "num_attention_heads", 5),
        Arguments.of("llama", "num_key_value_heads", 3),
        Arguments.of("llama", "head_dim", 7),
        Arguments.of("llama", "vocab_size", true),
        Arguments.of("llama", "rms_norm_eps", "1e-6"),
        Arguments.of("llama", "rms_norm_eps", 0.0),
        Arguments.of("llama", "rms_norm_eps", Double.NaN),
        Arguments.of("llama", "attention_bias", "yes"),
        Arguments.of("llama", "hidden_act", "mish"),
        Arguments.of("llama", "hidden_act", 3),
        Arguments.of("llama", "tie_word_embeddings", 1),
        Arguments.of("llama", "rope_theta", -1),
        Arguments.of("llama", "rope_scaling", "linear"),
        Arguments.of("llama", "attention_dropout", 1.0),
        Arguments.of("llama", "pad_token_id", 128),
        Arguments.of("llama", "eos_token_id", List.of("x")),
        Arguments.of("llama", "architectures", "LlamaForCausalLM"),
        Arguments.of("gpt2", "n_head", 5),
        Arguments.of("gpt2", "n_layer", 200_000),
        Arguments.of("opt", "num_attention_heads", 7),
        Arguments.of("opt", "word_embed_proj_dim", -1),
        Arguments.of("bert", "num_attention_heads", 5),
        Arguments.of("bert", "type_vocab_size", 0),
        Arguments.of("t5", "num_heads", 0),
        Arguments.of("t5", "relative_attention_num_buckets", 1),
        Arguments.of("t5", "relative_attention_max_distance", 1),
        Arguments.of("t5", "feed_forward_proj", "gated-mish"),
        Arguments.of("gemma3_text", "sliding_window", -4),
        Arguments.of("gemma3_text", "query_pre_attn_scalar", 0),
        Arguments.of("gemma3_text", "layer_types", List.of("full_attention")),
        Arguments.of("mixtral", "num_experts_per_tok", 5),
        Arguments.of("mixtral", "num_local_experts", -4));
  }

  @ParameterizedTest
  @MethodSource("ignored")
  void a_field_that_would_change_the_result_is_not_passed_over(
      String model, String field, Object value) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build(model, field, value))
        .withMessageStartingWith("config field " + field + " = ")
        .withMessageContaining("would change the result and is not honoured for ");
  }

  static Stream<Arguments> ignored() {
    return Stream.of(
        Arguments.of("llama", "quantization_config", Map.of("load_in_4bit", true)),
        Arguments.of("llama", "sliding_window", 16),
        Arguments.of("llama", "partial_rotary_factor", 0.5),
        Arguments.of("llama", "attention_multiplier", 0.1),
        Arguments.of("mistral", "attention_bias", true),
        Arguments.of("mixtral", "router_jitter_noise", 0.1),
        Arguments.of("mixtral", "output_router_logits", true),
        Arguments.of("qwen2", "mlp_bias", true),
        Arguments.of("qwen2", "layer_types", List.of("full_attention", "linear_attention")),
        Arguments.of("gemma3_text", "attn_logit_softcapping", 50.0),
        Arguments.of("gemma3_text", "final_logit_softcapping", 30.0),
        Arguments.of("gemma3_text", "use_bidirectional_attention", true),
        Arguments.of("gpt2", "reorder_and_upcast_attn", true),
        Arguments.of("gpt2", "add_cross_attention", true),
        Arguments.of("opt", "layer_norm_elementwise_affine", false),
        Arguments.of("opt", "layerdrop", 0.1),
        Arguments.of("bert", "is_decoder", true),
        Arguments.of("bert", "position_embedding_type", "relative_key"),
        Arguments.of("bert", "pruned_heads", Map.of("0", List.of(1))),
        Arguments.of("t5", "is_gated_act", true));
  }

  @Test
  void an_unknown_rope_is_refused_by_its_type() {
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> build("llama", "rope_scaling", Map.of("rope_type", "longrope", "factor", 4)))
        .withMessage(
            "config field rope_scaling.rope_type = \"longrope\" would change the result and is not"
                + " honoured for llama; known are default, linear, dynamic, llama3 and yarn");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("llama", "rope_scaling", Map.of("type", "linear")))
        .withMessageContaining("config field rope_scaling.factor is missing");
  }

  @Test
  void another_class_than_the_family_is_built_as_is_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("bert", "architectures", List.of("BertForTokenClassification")))
        .withMessageStartingWith("config field architectures = [BertForTokenClassification]");
  }

  @Test
  void any_field_may_be_of_any_type_without_another_error() {
    for (String model : MODELS) {
      Map<String, @Nullable Object> sound = Fixtures.map(Fixtures.config(model));
      for (String field : sound.keySet()) {
        for (Object value : List.of(-1, 1L << 40, "x", 0.5, List.of(1), Map.of("a", 1))) {
          try (Model built =
              Families.build(Fixtures.config(model, field, value), Fixtures.weights(model))) {
            assertThat(built.modelType()).isNotEmpty();
          } catch (IllegalArgumentException e) {
            assertThat(e)
                .hasMessageMatching("(?s)(config field |the checkpoint has no ).*|.* is \\[.*");
          }
        }
      }
    }
  }

  @Test
  void weights_of_another_shape_are_refused_by_name() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("llama", "intermediate_size", 96))
        .withMessage(
            "model.layers.0.mlp.gate_proj.weight is [64, 32] but the config asks for [96, 32];"
                + " config.json and the weights do not belong together");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> build("mixtral", "num_local_experts", 3))
        .withMessageStartingWith("model.layers.0.mlp.gate.weight is [4, 32]");
  }

  @Test
  void a_missing_tensor_is_named() {
    Weights weights = Fixtures.weights("qwen2");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                Families.build(
                    Fixtures.config("qwen2"),
                    key -> key.endsWith("1.self_attn.k_proj.bias") ? null : weights.find(key)))
        .withMessageStartingWith(
            "the checkpoint has no tensor model.layers.1.self_attn.k_proj.bias");
    Weights experts = Fixtures.weights("mixtral");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                Families.build(
                    Fixtures.config("mixtral"),
                    key -> key.contains("experts.2.w3") ? null : experts.find(key)))
        .withMessageStartingWith(
            "the checkpoint has no tensor model.layers.0.block_sparse_moe.experts.2.w3.weight");
  }

  @Test
  void a_broken_text_is_refused_as_such() {
    for (String text : Arrays.asList("", "[]", "{\"model_type\": ", "7", "{} {}", "null")) {
      assertThatThrownBy(() -> Families.build(text, key -> null))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void inputs_that_do_not_fit_are_refused() {
    try (Model model = Fixtures.model("gpt2")) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.logits(ModelInputs.of(Fixtures.ids(new long[] {3, 128}))))
          .withMessage(
              "token id 128 is outside of the model's 128; tokenizer and model do not belong"
                  + " together");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.logits(ModelInputs.of(Fixtures.ids(new long[65]))))
          .withMessage(
              "a row reaches position 64 but the model has 64 positions; give shorter rows");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  model.logits(
                      ModelInputs.of(
                          Fixtures.ids(new long[] {3, 4}), Fixtures.ids(new long[] {1}))))
          .withMessage(
              "attention_mask is [1, 1] but the batch has 1 rows of 2 tokens; give one number a"
                  + " token");
    }
  }

  @Test
  void parts_of_a_batch_that_do_not_belong_together_are_refused() {
    var ids = Fixtures.ids(new long[] {3, 4}, new long[] {5, 6});
    var one = Fixtures.ids(new long[] {3});
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ModelInputs.of(ids).withTokenTypes(one))
        .withMessage("tokenTypeIds is [1, 1] but inputIds is [2, 2]; give one number a token");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ModelInputs.of(ids).withPositions(one))
        .withMessage("positionIds is [1, 1] but inputIds is [2, 2]; give one number a token");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ModelInputs.answering(ids, null, one))
        .withMessage("decoderInputIds has 1 rows but inputIds has 2; each text has one answer");
    try (Model model = Fixtures.model("bert");
        Model llama = Fixtures.model("llama");
        KvCache other = new KvCache(3, 8)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.logits(ModelInputs.of(ids).withTokenTypes(ids)))
          .withMessageStartingWith("token type 6 is outside of the model's 2");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> llama.logits(ModelInputs.next(ids, null, other)))
          .withMessage(
              "the cache is for 3 layers but the model has 2; make it with newCache of this model");
    }
  }

  private static void build(String model, String field, Object value) {
    String id = model.equals("mistral") ? "llama" : model;
    var config = Fixtures.config(id, field, value);
    if (model.equals("mistral")) {
      config.put("model_type", "mistral");
      config.put("architectures", List.of("MistralForCausalLM"));
    }
    Families.build(config, Fixtures.weights(id)).close();
  }
}
