package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Linear;
import espalier.nn.Rows;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** Layers that are trained whole, and biases of the base that are trained along. */
class SavedAndBiasTest extends OnDecoder {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String HEAD = "base_model.model.lm_head.weight";

  SavedAndBiasTest() {
    super(1, 3);
  }

  private static LoraConfig saving(String... names) {
    return LoraConfig.builder().r(2).targets(Targets.named("q_proj").saving(names)).build();
  }

  private static LoraConfig bias(BiasTraining bias) {
    return LoraConfig.builder()
        .r(2)
        .init(new LoraInit.Unset())
        .bias(bias)
        .targets(Targets.named("q_proj"))
        .build();
  }

  private Tensor head() {
    return model.at("lm_head").forward(x);
  }

  private void shift(String name, String key) {
    try (var _ = new NoGradGuard()) {
      there(adapters.state(name).get(key)).add_(new Scalar(1));
    }
  }

  // ---- whole layers

  @Test
  void a_layer_that_is_saved_whole_has_a_copy_of_its_own_that_trains() {
    Tensor original = model.at("lm_head").weight().clone();
    adapters.attach("one", saving("lm_head"), 1);
    Tensor atBirth = head().clone();

    shift("one", HEAD);
    head().sum().backward();

    assertThat(atBirth.equal(model.at("lm_head").base(x))).isTrue();
    assertThat(head().equal(atBirth)).isFalse();
    assertThat(there(adapters.parameters().get(HEAD)).grad().defined()).isTrue();
    assertThat(model.at("lm_head").weight().equal(original)).isTrue();
  }

  @Test
  void disabled_or_without_its_owner_the_original_answers() {
    adapters.attach("one", saving("lm_head"), 1);
    adapters.add("two", saving(), AttachOptions.seeded(2));
    shift("one", HEAD);
    Tensor base = model.at("lm_head").base(x);

    try (var _ = adapters.disable()) {
      assertThat(head().equal(base)).isTrue();
    }
    adapters.setActive(List.of("two"));
    assertThat(head().equal(base)).isTrue();
  }

  @Test
  void only_one_active_adapter_can_own_a_copy_of_a_layer() {
    adapters.attach("one", saving("lm_head"), 1);
    adapters.add("two", saving("lm_head"), AttachOptions.seeded(2));

    assertThatThrownBy(() -> adapters.setActive(List.of("one", "two")))
        .isInstanceOf(AdapterException.class)
        .hasMessage(
            "one and two both have a copy of lm_head; only one of them can be active at a time");
    assertThat(adapters.active()).containsExactly("one");
  }

  @Test
  void merging_puts_the_copy_in_place_and_unmerging_takes_it_out_bit_for_bit() {
    Tensor original = model.at("lm_head").weight().clone();
    adapters.attach("one", saving("lm_head", "norm"), 1);
    shift("one", HEAD);
    Tensor own = there(adapters.state("one").get(HEAD)).clone();

    adapters.merge(true);
    assertThat(model.at("lm_head").weight().equal(own)).isTrue();
    adapters.unmerge();
    assertThat(model.at("lm_head").weight().equal(original)).isTrue();
    adapters.mergeAndUnload(true);
    assertThat(model.at("lm_head").weight().equal(own)).isTrue();
  }

  @Test
  void rows_of_a_batch_use_the_copy_of_their_own_adapter() {
    adapters.attach("one", saving("lm_head"), 1);
    adapters.add("two", saving("lm_head"), AttachOptions.seeded(2));
    adapters.add("none", saving(), AttachOptions.seeded(3));
    shift("one", HEAD);
    Tensor one = head().clone();
    Tensor base = model.at("lm_head").base(x);

    Tensor mixed = adapters.mixed(List.of("one", "none", Rows.BASE), 3, this::head);

    assertThat(mixed.select(0, 0).sub(one.select(0, 0)).abs().max().item_double()).isLessThan(1e-5);
    assertThat(mixed.narrow(0, 1, 2).sub(base.narrow(0, 1, 2)).abs().max().item_double())
        .isLessThan(1e-6);
  }

  @Test
  void rows_can_not_have_copies_of_a_norm() {
    adapters.attach("one", saving("norm"), 1);

    assertThatThrownBy(() -> adapters.mixed(List.of("one"), 1, this::head))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "one at model.norm: rows of one batch can not have different copies of a RmsNorm");
  }

  @Test
  void the_copy_goes_through_a_file() {
    adapters.attach("one", saving("lm_head"), 1);
    shift("one", HEAD);
    Map<String, Tensor> state = adapters.state("one");
    Tensor expected = head().clone();
    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());

      LoadResult result = others.load("one", saving("lm_head"), state, LoadOptions.defaults());

      assertThat(result.unexpected()).isEmpty();
      assertThat(result.missing()).isEmpty();
      assertThat(other.at("lm_head").forward(x).equal(expected)).isTrue();
    }
  }

  @Test
  void a_container_without_weights_can_not_be_saved() {
    var empty = Tree.empty().with("a.b.q_proj", new espalier.nn.Linear(x, null));
    empty.with("hollow.inner", Tree.empty());

    assertThatThrownBy(
            () -> Adapters.of(empty, ModelFacts.of("llama")).attach("one", saving("hollow"), 1))
        .isInstanceOf(TargetException.class)
        .hasMessage(
            "modules_to_save has hollow, which has no weight of its own and none below; name a"
                + " layer that has one");
  }

  // ---- biases

  @Test
  void biases_of_adapted_layers_train_on_a_copy() {
    Tensor before = there(model.at(Q).bias());
    Tensor kept = before.clone();
    adapters.attach("one", bias(BiasTraining.ADAPTED), 1);

    model.at(Q).forward(x).sum().backward();

    String key = "base_model.model." + Q + ".base_layer.bias";
    Tensor trained = there(adapters.parameters().get(key));
    assertThat(trained.grad().defined()).isTrue();
    assertThat(trained.data_ptr().address())
        .isEqualTo(there(model.at(Q).bias()).data_ptr().address());
    assertThat(trained.equal(kept)).isTrue();
    assertThat(adapters.parameters().keySet()).hasSize(3);
  }

  @Test
  void all_biases_are_saved_under_their_own_keys_and_loaded_back() {
    adapters.attach("one", bias(BiasTraining.ALL), 1);
    String q = "base_model.model." + Q + ".base_layer.bias";
    String k = "base_model.model.model.layers.0.self_attn.k_proj.bias";
    shift("one", q);
    shift("one", k);
    Map<String, Tensor> state = adapters.state("one");
    Tensor expected = model.at(Q).forward(x).clone();

    assertThat(state.keySet()).contains(q, k).hasSize(4);
    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());
      LoadResult result =
          others.load(
              "one",
              bias(BiasTraining.ALL),
              state,
              LoadOptions.defaults().withStrict(true).withTrainable(true));

      assertThat(result.unexpected()).isEmpty();
      assertThat(other.at(Q).forward(x).equal(expected)).isTrue();
      assertThat(others.parameters().keySet()).containsExactlyElementsOf(state.keySet());
    }
  }

  @Test
  void copies_of_biases_that_a_file_has_of_layers_saved_whole_are_passed_over() {
    adapters.attach("one", saving("k_proj"), 1);
    var state = new LinkedHashMap<String, Tensor>(adapters.state("one"));
    String layer = "base_model.model.model.layers.0.self_attn.k_proj";
    Tensor bias = there(state.get(layer + ".bias"));
    state.put(layer + ".modules_to_save.bias", bias);
    state.put(layer + ".modules_to_save.one.bias", bias);
    state.put(layer + ".original_module.bias", bias);
    state.put(layer + ".elsewhere.bias", bias);

    try (Tree other = Tree.decoder(1)) {
      LoadResult result =
          Adapters.of(other, Tree.facts())
              .load("one", adapters.config("one"), state, LoadOptions.defaults());

      assertThat(result.unexpected()).containsExactly(layer + ".elsewhere.bias");
    }
  }

  @Test
  void layers_that_share_a_bias_train_it_together() {
    try (Tree two = Tree.empty()) {
      Tensor shared = Tensor.create(1f, 2f, 3f);
      var draw = new Tree.Draw(4);
      two.with("a.q_proj", new Linear(draw.normal(3, 2), shared))
          .with("b.q_proj", new Linear(draw.normal(3, 2), shared));
      var both = Adapters.of(two, ModelFacts.of("own"));
      both.attach("one", bias(BiasTraining.ADAPTED), 1);

      try (var _ = new NoGradGuard()) {
        there(both.state("one").get("base_model.model.a.q_proj.base_layer.bias"))
            .add_(new Scalar(1));
      }

      assertThat(both.state("one")).containsKey("base_model.model.b.q_proj.base_layer.bias");
      assertThat(there(two.at("b.q_proj").bias()).equal(shared.add(new Scalar(1)))).isTrue();
      assertThat(both.parameters().keySet().stream().filter(key -> key.endsWith(".bias")))
          .containsExactly("base_model.model.a.q_proj.base_layer.bias");
      both.delete("one");
      assertThat(there(two.at("b.q_proj").bias()).equal(shared)).isTrue();
    }
  }

  @Test
  void trained_biases_stay_while_disabled_and_go_when_the_adapter_is_deleted() {
    Tensor plain = model.at(Q).base(x).clone();
    adapters.attach("one", bias(BiasTraining.ALL), 1);
    shift("one", "base_model.model." + Q + ".base_layer.bias");

    try (var off = adapters.disable()) {
      assertThat(off.warnings())
          .containsExactly(
              "one trained biases of the base, which stay changed while it is disabled");
      Tensor moved = model.at(Q).forward(x).sub(plain);
      assertThat(moved.sub(new Scalar(1)).abs().max().item_double()).isLessThan(1e-5);
    }
    adapters.delete("one");

    assertThat(model.at(Q).forward(x).equal(plain)).isTrue();
  }

  @Test
  void unloading_keeps_trained_biases_and_tells() {
    Tensor plain = model.at(Q).base(x).clone();
    adapters.attach("one", bias(BiasTraining.ADAPTED), 1);
    shift("one", "base_model.model." + Q + ".base_layer.bias");

    assertThat(adapters.unload()).containsExactly("the biases that one trained stay in the model");

    Tensor moved = model.at(Q).forward(x).sub(plain);
    assertThat(moved.sub(new Scalar(1)).abs().max().item_double()).isLessThan(1e-5);
    assertThat(model.namedParameters().values()).noneMatch(Tensor::requires_grad);
  }

  @Test
  void only_one_adapter_of_a_model_trains_biases() {
    adapters.attach("one", bias(BiasTraining.ALL), 1);

    assertThatThrownBy(
            () -> adapters.add("two", bias(BiasTraining.ADAPTED), AttachOptions.seeded(2)))
        .isInstanceOf(AdapterException.class)
        .hasMessage(
            "two trains biases of the base and so does one; only one adapter of a model can");
  }
}
