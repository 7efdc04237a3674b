package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class ModelTreeTest {

  private static JsonNode facts(String name) {
    return JsonMapper.shared()
        .readTree(Fixtures.PARITY.resolve("cases").resolve(name).resolve("case.json").toFile());
  }

  private static Model model(JsonNode facts) {
    String path = facts.get("model").asString();
    return Fixtures.model(path.substring(path.lastIndexOf('/') + 1));
  }

  /** PEFT's all-linear names the linear layers in the order of the reference's modules. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "config_lora_all_linear_bert",
        "config_lora_all_linear_gpt2",
        "config_lora_all_linear_t5",
        "config_lora_all_linear"
      })
  void linear_layers_come_in_the_order_of_the_reference(String name) {
    JsonNode facts = facts(name);
    try (Model model = model(facts)) {
      var linear = new ArrayList<String>();
      model
          .layers()
          .forEach(
              (path, layer) -> {
                boolean head =
                    model.outputHead().filter(path::equals).isPresent()
                        || model.classificationHead().filter(path::equals).isPresent();
                if (layer instanceof Linear && !head) {
                  linear.add(path);
                }
              });

      assertThat(linear)
          .isEqualTo(
              facts.get("targeted_modules").values().stream().map(JsonNode::asString).toList());
    }
  }

  static Stream<String> configs() {
    JsonNode index = JsonMapper.shared().readTree(Fixtures.PARITY.resolve("index.json").toFile());
    return index.get("cases").values().stream()
        .filter(each -> each.get("kind").asString().equals("config") && !each.has("variant"))
        .map(each -> each.get("name").asString())
        .filter(name -> !name.contains("replication"))
        .filter(name -> !name.contains("adalora")) // its ranks are counted as frozen parameters
        .filter(name -> facts(name).get("wrapped_modules").isEmpty());
  }

  @ParameterizedTest
  @MethodSource("configs")
  void there_are_as_many_parameters_as_in_the_reference(String name) {
    JsonNode facts = facts(name);
    try (Model model = model(facts)) {
      Set<String> copies = new HashSet<>();
      model.tiedWeights().forEach(tied -> tied.stream().skip(1).forEach(copies::add));
      long count = 0;
      for (var entry : model.namedParameters().entrySet()) {
        count += copies.contains(entry.getKey()) ? 0 : entry.getValue().numel();
      }

      JsonNode parameters = facts.get("parameters");
      long biases = facts.get("given").path("bias").asString("none").equals("none") ? 0 : -1;
      if (biases == 0) {
        assertThat(count)
            .isEqualTo(parameters.get("all").asLong() - parameters.get("trainable").asLong());
      } else {
        assertThat(count).isLessThan(parameters.get("all").asLong());
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "llama, model.layers.0.self_attn, Attention",
    "llama, model.layers.0.mlp, FeedForward",
    "llama, model.layers.0, DecoderBlock",
    "llama, model.layers, ModuleList",
    "llama, model.norm, RmsNorm",
    "mixtral, model.layers.1.mlp.gate, TopKRouter",
    "mixtral, model.layers.1.mlp.experts, Experts",
    "mixtral, model.layers.1.mlp.experts.gate_up_proj, Parameter",
    "gpt2, transformer.h.0.attn.c_attn, Conv1D",
    "bert, bert.encoder.layer.0.attention.self, Attention",
    "t5, decoder.block.0.layer, ModuleList",
    "t5, decoder.block.0.layer.0.SelfAttention.relative_attention_bias, Embedding"
  })
  void every_node_says_what_it_is(String id, String path, String type) {
    try (Model model = Fixtures.model(id)) {
      Layer layer = model.find(path);

      assertThat(layer).isNotNull();
      assertThat(layer == null ? "" : layer.typeName()).isEqualTo(type);
    }
  }

  @Test
  void facts_about_a_model_are_at_hand() {
    try (Model tied = Fixtures.model("llama_tied");
        Model t5 = Fixtures.model("t5");
        Model bert = Fixtures.model("bert")) {

      assertThat(tied.task()).isEqualTo(Task.CAUSAL_LM);
      assertThat(tied.outputHead()).contains("lm_head");
      assertThat(tied.inputEmbedding()).contains("model.embed_tokens");
      assertThat(tied.pathsOfBlocks()).containsExactly("model.layers");
      assertThat(tied.tiedWeights())
          .containsExactly(Set.of("model.embed_tokens.weight", "lm_head.weight"));
      assertThat(tied.config().tokens().end()).containsExactly(2);
      assertThat(tied.config().unread()).isEmpty();
      assertThat(t5.task()).isEqualTo(Task.SEQ_2_SEQ_LM);
      assertThat(t5.pathsOfBlocks()).containsExactly("encoder.block", "decoder.block");
      assertThat(t5.tiedWeights().getFirst()).hasSize(4);
      assertThat(bert.task()).isEqualTo(Task.SEQ_CLS);
      assertThat(bert.classificationHead()).contains("classifier");
      assertThat(bert.config().labels()).isEqualTo(3);
      assertThat(bert.freshParameters()).isEmpty();
    }
  }

  @Test
  void repeated_blocks_share_their_weights_and_run_in_order() {
    Tensor ids = Fixtures.ids(new long[] {5, 17, 22});
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model twice = Fixtures.model("llama");
        Model once = Fixtures.model("llama")) {
      twice.repeatBlocks(0, 1, 1);

      assertThat(twice.find("model.layers.2.self_attn.q_proj")).isNotNull();
      assertThat(twice.namedParameters().get("model.layers.2.mlp.up_proj.weight"))
          .satisfies(
              w ->
                  assertThat(w.data_ptr().address())
                      .isEqualTo(
                          twice
                              .namedParameters()
                              .getOrDefault("model.layers.1.mlp.up_proj.weight", ids)
                              .data_ptr()
                              .address()));
      Tensor three = twice.logits(ModelInputs.of(ids));
      assertThat(Fixtures.distance(three, once.logits(ModelInputs.of(ids)))).isGreaterThan(0.1);
      twice.repeatBlocks(0, 1);
      assertThat(
              Fixtures.distance(
                  twice.logits(ModelInputs.of(ids)), once.logits(ModelInputs.of(ids))))
          .isZero();
      assertThatThrownBy(() -> twice.repeatBlocks(0, 7))
          .hasMessage("layer_replication names layer 7 but the model has layers 0 to 1");
    }
  }

  @Test
  void an_encoder_without_a_head_gets_a_fresh_one() {
    var weights = Fixtures.weights("bert");
    try (Model model =
        Families.build(
            Fixtures.config("bert", "architectures", List.of("BertForMaskedLM")),
            key -> key.startsWith("classifier") ? null : weights.find(key))) {

      assertThat(model.freshParameters()).containsExactly("classifier.weight", "classifier.bias");
      assertThat(model.logits(ModelInputs.of(Fixtures.ids(new long[] {4, 5}))).shape())
          .containsExactly(1, 3);
    }
  }

  @Test
  void a_file_without_the_first_part_of_its_names_is_read_too() {
    var weights = Fixtures.weights("gpt2");
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model bare =
            Families.build(
                Fixtures.config("gpt2"),
                key -> key.startsWith("transformer.") ? null : weights.find("transformer." + key));
        Model full = Fixtures.model("gpt2")) {
      ModelInputs in = ModelInputs.of(Fixtures.ids(new long[] {4, 5}));

      assertThat(Fixtures.distance(bare.logits(in), full.logits(in))).isZero();
    }
  }
}
