package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.Attached;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.ModelFacts;
import espalier.adapters.StateMismatchException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Adaptable;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Adapters from the time when experts were linear layers, on experts that are one parameter. */
class SeparateExpertsTest {

  private static final ModelFacts MIXTRAL =
      ModelFacts.of("mixtral").withEmbeddings("model.embed_tokens", "lm_head");

  private final Scope scope = Scope.open();
  private Tree model = Tree.empty();

  @BeforeEach
  void open() {
    model = Tree.experts(1);
  }

  @AfterEach
  void close() {
    model.close();
    scope.close();
  }

  private static LoraConfig config(String... names) {
    return LoraConfig.builder().r(2).alpha(3).targets(Targets.named(names)).build();
  }

  /** As a file of separate experts has them; gate_up_proj is [3, 10, 8], down_proj [3, 8, 5]. */
  private static Map<String, Tensor> old(String folder) {
    var draw = new Tree.Draw(3);
    var saved = new LinkedHashMap<String, Tensor>();
    for (int expert = 0; expert < 3; expert++) {
      String key = "base_model.model.model.layers.0.%s.experts.%d.".formatted(folder, expert);
      for (String part : List.of("w1", "w3")) {
        saved.put(key + part + ".lora_A.weight", draw.normal(2, 8));
        saved.put(key + part + ".lora_B.weight", draw.normal(5, 2));
      }
      saved.put(key + "w2.lora_A.weight", draw.normal(2, 5));
      saved.put(key + "w2.lora_B.weight", draw.normal(8, 2));
    }
    return saved;
  }

  private static Tensor product(Map<String, Tensor> saved, int expert, String part) {
    String key =
        "base_model.model.model.layers.0.block_sparse_moe.experts.%d.%s.".formatted(expert, part);
    return there(saved.get(key + "lora_B.weight"))
        .matmul(there(saved.get(key + "lora_A.weight")))
        .mul(new Scalar(1.5));
  }

  @Test
  void the_factors_of_single_experts_do_the_same_on_the_stacked_parameters() {
    Map<String, Tensor> saved = old("block_sparse_moe");
    var adapters = Adapters.of(model, MIXTRAL);

    LoadResult result =
        adapters.load("one", config("w1", "w2", "w3"), saved, LoadOptions.defaults());

    assertThat(result.missing()).isEmpty();
    assertThat(result.unexpected()).isEmpty();
    assertThat(saved).hasSize(18);
    try (var _ = new NoGradGuard()) {
      Adaptable gateUp = model.at("model.layers.0.mlp.experts.gate_up_proj");
      Adaptable down = model.at("model.layers.0.mlp.experts.down_proj");
      Tensor both = there(gateUp.adapters().find("one")).deltaWeight();
      Tensor second = there(down.adapters().find("one")).deltaWeight();
      for (int expert = 0; expert < 3; expert++) {
        Tensor of = both.select(0, expert);
        assertThat(of.narrow(0, 0, 5).allclose(product(saved, expert, "w1"), 1e-5, 1e-5, false))
            .isTrue();
        assertThat(of.narrow(0, 5, 5).allclose(product(saved, expert, "w3"), 1e-5, 1e-5, false))
            .isTrue();
        assertThat(
                second.select(0, expert).allclose(product(saved, expert, "w2"), 1e-5, 1e-5, false))
            .isTrue();
      }
    }
  }

  @Test
  void names_ranks_and_alphas_become_those_of_today() {
    var adapters = Adapters.of(model, MIXTRAL);

    Attached attached = adapters.attach("one", config("q_proj", "w1", "w2", "w3"), 1);

    var lora = (LoraConfig) attached.config();
    assertThat(attached.modules()).containsExactly("model.layers.0.self_attn.q_proj");
    assertThat(attached.parameters()).hasSize(2);
    assertThat(lora.rankAt("model.layers.0.mlp.experts.gate_up_proj")).isEqualTo(4);
    assertThat(lora.rankAt("model.layers.0.mlp.experts.down_proj")).isEqualTo(2);
    assertThat(lora.scalingAt("model.layers.0.mlp.experts.gate_up_proj")).isEqualTo(1.5);
  }

  @Test
  void half_of_what_is_one_parameter_now_is_refused() {
    var adapters = Adapters.of(model, MIXTRAL);

    assertThatThrownBy(() -> adapters.attach("one", config("q_proj", "w1"), 1))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "target_modules names [w1], but in this model [w1, w3] are one parameter,"
                + " gate_up_proj; name all of them");
  }

  @Test
  void a_file_that_lacks_an_expert_is_refused() {
    Map<String, Tensor> saved = old("block_sparse_moe");
    saved.keySet().removeIf(key -> key.contains("experts.1.w3"));
    var adapters = Adapters.of(model, MIXTRAL);

    assertThatThrownBy(
            () -> adapters.load("one", config("w1", "w2", "w3"), saved, LoadOptions.defaults()))
        .isInstanceOf(StateMismatchException.class)
        .hasMessageContaining("experts.1.w3.lora_A.weight is missing");
    assertThat(adapters.names()).isEmpty();
  }

  @Test
  void parameters_without_modules_leave_the_usual_layers_of_the_architecture_out() {
    var adapters = Adapters.of(model, MIXTRAL);
    Targets experts = Targets.byArchitecture().withParameters(List.of("experts.down_proj"));

    Attached attached =
        adapters.attach("one", LoraConfig.builder().r(2).targets(experts).build(), 1);

    assertThat(attached.modules()).isEmpty();
    assertThat(attached.parameters()).containsExactly("model.layers.0.mlp.experts.down_proj");
  }

  @Test
  void an_architecture_whose_experts_kept_their_names_gets_its_usual_layers_beside_parameters() {
    var adapters = Adapters.of(model, ModelFacts.of("llama4"));
    Targets experts = Targets.byArchitecture().withParameters(List.of("experts.down_proj"));

    Attached attached =
        adapters.attach("one", LoraConfig.builder().r(2).targets(experts).build(), 1);

    assertThat(attached.modules())
        .containsExactly("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj");
  }

  @Test
  void names_that_are_layers_of_the_model_stay_what_they_are() {
    Attached attached =
        Adapters.of(model, ModelFacts.of("llama")).attach("one", config("down_proj"), 1);

    assertThat(attached.modules()).containsExactly("model.layers.0.mlp.down_proj");
    assertThat(attached.parameters()).isEmpty();
  }
}
