package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Tensors of an adapter, read out under the keys of its file and put in again. */
class LoadingTest extends OnDecoder {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String EMBEDDING = "model.embed_tokens";
  private static final String A = "base_model.model." + Q + ".lora_A.weight";
  private static final LoraConfig LORA =
      LoraConfig.builder().r(2).init(new LoraInit.Unset()).targets(Targets.named("q_proj")).build();

  LoadingTest() {
    super(1, 3);
  }

  @Test
  void the_first_that_is_loaded_is_active_and_for_use_only() {
    LoadResult result = adapters.load("one", LORA, saved(LORA), LoadOptions.defaults());

    assertThat(adapters.active()).containsExactly("one");
    assertThat(adapters.parameters()).isEmpty();
    assertThat(result.attached().config().head().inferenceMode()).isTrue();
    assertThat(model.at(Q).forward(x).equal(model.at(Q).base(x))).isFalse();
  }

  static Stream<LoraConfig> variants() {
    return Stream.of(
            LoraConfig.builder(),
            LoraConfig.builder().loraBias(true),
            LoraConfig.builder().bias(BiasTraining.ALL),
            LoraConfig.builder().variant(new LoraVariant.Dora()),
            LoraConfig.builder().variant(new LoraVariant.Kasa(0, 0)),
            LoraConfig.builder().init(new LoraInit.Pissa()),
            LoraConfig.builder().init(new LoraInit.Mica()))
        .map(config -> config.r(2).targets(Targets.named("q_proj").saving("k_proj")).build());
  }

  @ParameterizedTest
  @MethodSource("variants")
  void one_without_values_that_is_filled_later_is_as_one_that_was_loaded(LoraConfig config) {
    Map<String, Tensor> saved = saved(config);
    saved.values().forEach(t -> t.add_(new Tree.Draw(8).normal(t.shape())));
    adapters.load("one", config, saved, LoadOptions.defaults());
    Tensor loaded = model.at(Q).forward(x);

    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());
      others.attach("one", config, AttachOptions.of(InitSource.blank()));
      var incomplete = new LinkedHashMap<>(saved);
      incomplete.remove(A);
      assertThatThrownBy(
              () -> others.setState("one", incomplete, LoadOptions.defaults().withStrict(true)))
          .isInstanceOf(StateMismatchException.class)
          .hasMessageContaining(A);
      others.setState("one", saved, LoadOptions.defaults().withStrict(true));

      assertThat(other.at(Q).forward(x).equal(loaded)).isTrue();
      assertThat(others.state("one").keySet()).isEqualTo(adapters.state("one").keySet());
    }
  }

  @Test
  void an_embedding_in_a_file_of_pissa_is_loaded_plainly_beside_layers_that_are_cut() {
    LoraConfig plain =
        LORA.toBuilder().alpha(4).targets(Targets.named("embed_tokens", "q_proj")).build();
    LoraConfig pissa = plain.toBuilder().init(new LoraInit.Pissa()).build();
    Map<String, Tensor> file = new LinkedHashMap<>(saved(plain));
    Tensor table = model.at(EMBEDDING).weight().clone();
    Tensor q = model.at(Q).weight().clone();

    assertThatThrownBy(() -> adapters.attach("one", pissa, 1))
        .as("a fresh one has no such start")
        .isInstanceOf(UnsupportedAdapterException.class);
    LoadResult result = adapters.load("one", pissa, file, LoadOptions.defaults());

    assertThat(result.missing()).isEmpty();
    assertThat(model.at(EMBEDDING).originalWeight().equal(table)).isTrue();
    assertThat(model.at(Q).originalWeight().equal(q)).isFalse();
    Tensor a = there(file.get("base_model.model." + EMBEDDING + ".lora_embedding_A"));
    Tensor b = there(file.get("base_model.model." + EMBEDDING + ".lora_embedding_B"));
    Tensor delta = there(model.at(EMBEDDING).adapters().find("one")).deltaWeight();
    assertThat(Tree.gap(delta, b.matmul(a).t().mul(new Scalar(2)))).isLessThan(1e-5);
  }

  @Test
  void one_to_be_trained_on_collects_gradients() {
    adapters.load("one", LORA, saved(LORA), LoadOptions.defaults().withTrainable(true));

    assertThat(adapters.parameters().keySet()).contains(A).hasSize(2);
  }

  @Test
  void one_for_use_only_turns_dropout_off_and_one_to_be_trained_leaves_it() {
    model.train(true);

    adapters.load("one", LORA, saved(LORA), LoadOptions.defaults().withTrainable(true));
    assertThat(model.training()).isTrue();

    adapters.load("two", LORA, saved(LORA), LoadOptions.defaults());
    assertThat(model.training()).isFalse();
  }

  @Test
  void a_further_one_is_not_activated() {
    adapters.attach("one", LORA, 1);

    adapters.load("two", LORA, saved(LORA), LoadOptions.defaults());

    assertThat(adapters.active()).containsExactly("one");
    assertThat(adapters.parameters().keySet()).allMatch(key -> !key.contains("/"));
  }

  @Test
  void keys_without_the_prefix_are_understood_and_given_tensors_stay_as_they_are() {
    var bare = new LinkedHashMap<String, Tensor>();
    saved(LORA).forEach((k, v) -> bare.put(k.replace("base_model.model.", ""), v));
    Tensor given = there(bare.get(Q + ".lora_A.weight"));
    Tensor copy = given.clone();

    LoadResult result = adapters.load("one", LORA, bare, LoadOptions.defaults());

    assertThat(result.missing()).isEmpty();
    assertThat(bare).hasSize(2);
    there(adapters.state("one").get(A)).zero_();
    assertThat(given.equal(copy)).isTrue();
  }

  @Test
  void a_missing_tensor_is_told_and_starts_anew_or_is_refused() {
    Map<String, Tensor> half = saved(LORA);
    half.remove(A);

    assertThatThrownBy(
            () -> adapters.load("one", LORA, half, LoadOptions.defaults().withStrict(true)))
        .isInstanceOf(StateMismatchException.class)
        .hasMessage(
            "1 tensors are missing, the first is %s; the file is incomplete or the config is another's"
                .formatted(A));
    assertThat(adapters.names()).isEmpty();

    LoadResult result = adapters.load("one", LORA, half, LoadOptions.defaults());

    assertThat(result.missing()).containsExactly(A);
    assertThat(result.warnings())
        .contains("1 tensors are missing and start anew, the first is " + A);
    assertThat(there(adapters.state("one").get(A)).abs().max().item_double()).isPositive();
  }

  @Test
  void an_unexpected_tensor_is_told() {
    Map<String, Tensor> more = saved(LORA);
    more.put("base_model.model.model.layers.9.q_proj.lora_A.weight", x);

    LoadResult result = adapters.load("one", LORA, more, LoadOptions.defaults());

    assertThat(result.unexpected())
        .containsExactly("base_model.model.model.layers.9.q_proj.lora_A.weight");
  }

  @Test
  void a_shape_that_does_not_fit_is_refused_by_layer_and_nothing_changes() {
    Map<String, Tensor> wide = saved(LORA.toBuilder().r(3).build());

    assertThatThrownBy(() -> adapters.load("one", LORA, wide, LoadOptions.defaults()))
        .isInstanceOf(StateMismatchException.class)
        .hasMessage(
            "%s: lora_A.weight is [3, 8] in the file but [2, 8] here; %s: lora_B.weight is [8, 3] in the file but [8, 2] here; the config and the tensors do not belong together, or the base is another model"
                .formatted(Q, Q));
    assertThat(adapters.names()).isEmpty();
    assertThat(model.at(Q).adapters().all()).isEmpty();

    LoadResult result =
        adapters.load("one", LORA, wide, LoadOptions.defaults().withIgnoreMismatched(true));
    assertThat(result.mismatched()).hasSize(2);
  }

  @Test
  void half_precision_in_the_file_is_widened_unless_asked_otherwise() {
    var half = new LinkedHashMap<String, Tensor>();
    saved(LORA).forEach((k, v) -> half.put(k, v.to(ScalarType.BFloat16)));

    adapters.load("one", LORA, half, LoadOptions.defaults());

    assertThat(there(adapters.state("one").get(A)).scalar_type().intern())
        .isEqualTo(ScalarType.Float);
  }

  @Test
  void a_failing_key_mapping_is_refused_before_anything_changes() {
    LoadOptions options = LoadOptions.defaults().withKeyMapping(Map.of("(a", "b"));

    assertThatThrownBy(() -> adapters.load("one", LORA, saved(LORA), options))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("the key mapping's \"(a\" is no regular expression");
    assertThat(adapters.names()).isEmpty();
    assertThat(model.at(Q).adapters().all()).isEmpty();
  }

  @Test
  void keys_are_mapped_by_the_first_rule_that_changes_them() {
    var renamed = new LinkedHashMap<String, Tensor>();
    saved(LORA).forEach((k, v) -> renamed.put(k.replace("model.layers", "old.blocks"), v));
    Map<String, String> mapping = Map.of("^(base_model\\.model\\.)?old\\.blocks", "model.layers");
    var bare = new LinkedHashMap<String, Tensor>();
    renamed.forEach((k, v) -> bare.put(k.replace("base_model.model.", ""), v));

    LoadResult result =
        adapters.load("one", LORA, bare, LoadOptions.defaults().withKeyMapping(mapping));

    assertThat(result.missing()).isEmpty();
    assertThat(result.unexpected()).isEmpty();
  }

  @Test
  void tensors_are_put_in_place_without_losing_their_identity() {
    adapters.attach("one", LORA, 1);
    Tensor before = there(adapters.parameters().get(A));
    Map<String, Tensor> other = saved(LORA);

    adapters.setState("one", other, LoadOptions.defaults());

    assertThat(before.equal(there(other.get(A)))).isTrue();
    assertThat(before.requires_grad()).isTrue();
    adapters.merge(true);
    assertThatThrownBy(() -> adapters.setState("one", other, LoadOptions.defaults()))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the adapter one is merged and can not be loaded into; unmerge it first");
  }

  @Test
  void an_embedding_that_is_adapted_is_saved_along_unless_asked_otherwise() {
    adapters.attach("one", LORA.withTargets(Targets.named("embed_tokens", "q_proj")), 1);
    String key = "base_model.model.model.embed_tokens.base_layer.weight";

    assertThat(adapters.state("one").keySet()).contains(key);
    assertThat(adapters.state("one", SaveEmbeddings.NO).keySet()).doesNotContain(key);
    adapters.unload();
    adapters.attach("two", LORA, 1);
    assertThat(adapters.state("two")).hasSize(2);
    assertThat(adapters.state("two", SaveEmbeddings.YES).keySet())
        .contains("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight");
  }

  @Test
  void token_rows_keep_the_file_small() {
    adapters.attach(
        "one",
        LORA.withTargets(Targets.named("lm_head", "q_proj")).toBuilder()
            .tokens(new TokenRows.OfInput(List.of(3)))
            .build(),
        1);
    String key = "base_model.model.lm_head.base_layer.weight";

    assertThat(adapters.state("one").keySet()).doesNotContain(key);
    assertThat(adapters.state("one", SaveEmbeddings.YES).keySet()).contains(key);
  }

  @Test
  void an_embedding_from_the_file_replaces_one_that_differs_and_is_told() {
    LoraConfig config = LORA.withTargets(Targets.named("embed_tokens"));
    Map<String, Tensor> state = saved(config);
    String key = "base_model.model.model.embed_tokens.base_layer.weight";
    assertThat(adapters.load("same", config, state, LoadOptions.defaults()).warnings()).isEmpty();
    Tensor moved = there(state.get(key)).add(new Scalar(1));
    state.put(key, moved);

    LoadResult result = adapters.load("moved", config, state, LoadOptions.defaults());

    assertThat(result.warnings())
        .contains(
            "model.embed_tokens of the base is replaced by the weight that was saved with the"
                + " adapter");
    assertThat(model.at("model.embed_tokens").weight().equal(moved)).isTrue();
    state.put(key, moved.narrow(0, 0, 4));
    assertThatThrownBy(() -> adapters.load("short", config, state, LoadOptions.defaults()))
        .isInstanceOf(StateMismatchException.class)
        .hasMessageStartingWith(
            "model.embed_tokens: the base's weight is [4, 8] in the file but [20, 8] here");
  }

  @Test
  void stacked_parameters_are_found_under_the_references_keys_and_under_their_own() {
    LoraConfig config =
        LORA.withTargets(
            Targets.named().withParameters(List.of("experts.gate_up_proj", "experts.down_proj")));
    var state = new LinkedHashMap<String, Tensor>();
    try (Tree experts = Tree.experts(1)) {
      var own = Adapters.of(experts, Tree.facts());
      own.attach("one", config, 1);
      own.state("one").forEach((k, v) -> state.put(k, v.clone()));
    }
    String experts = "base_model.model.model.layers.0.mlp.experts";
    assertThat(state.keySet())
        .containsExactlyInAnyOrder(
            experts + ".base_layer.lora_A.weight",
            experts + ".base_layer.lora_B.weight",
            experts + ".lora_A.weight",
            experts + ".lora_B.weight");
    var plain = new LinkedHashMap<String, Tensor>();
    state.forEach(
        (k, v) ->
            plain.put(
                k.contains("base_layer")
                    ? k.replace("experts.base_layer", "experts.gate_up_proj")
                    : k.replace("experts.", "experts.down_proj."),
                v));

    for (Map<String, Tensor> file : List.of(state, plain)) {
      try (Tree fresh = Tree.experts(1)) {
        var own = Adapters.of(fresh, Tree.facts());

        LoadResult result = own.load("one", config, file, LoadOptions.defaults());

        assertThat(result.missing()).isEmpty();
        assertThat(result.unexpected()).isEmpty();
        String key = experts + ".lora_A.weight";
        assertThat(there(own.state("one").get(key)).equal(there(state.get(key)))).isTrue();
      }
    }
  }

  @Test
  void many_adapters_stand_side_by_side() {
    Map<String, Tensor> state = saved(LORA);
    for (int i = 0; i < 64; i++) {
      adapters.load("n" + i, LORA, state, LoadOptions.defaults());
    }

    assertThat(adapters.names()).hasSize(64);
    assertThat(adapters.active()).containsExactly("n0");
    assertThat(model.at(Q).adapters().inForce()).hasSize(1);
  }
}
