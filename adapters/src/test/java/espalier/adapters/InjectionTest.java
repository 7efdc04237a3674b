package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Adapters on a model that is no language model and has nothing around it. */
class InjectionTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String UP = "model.layers.1.mlp.up_proj";
  private static final String PREFIX = "base_model.model.";

  private Scope scope = Scope.graph();
  private Tree model = Tree.empty();
  private Adapters adapters = Adapters.of(model, Tree.facts());

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.graph();
    model = Tree.decoder(2);
    adapters = Adapters.of(model, ModelFacts.of("something of one's own"));
  }

  @AfterEach
  void close() {
    model.close();
    scope.close();
  }

  private static LoraConfig lora(String... names) {
    return LoraConfig.builder()
        .r(2)
        .init(new LoraInit.Unset())
        .targets(Targets.named(names))
        .build();
  }

  private static AttachOptions keyed(String... keys) {
    return AttachOptions.seeded(1).withKeys(Arrays.asList(keys));
  }

  private Tensor output() {
    return model.at(Q).forward(new Tree.Draw(3).normal(3, 8));
  }

  // ---- without a wrapper

  @Test
  void the_model_stays_the_object_and_keeps_its_names() {
    var before = List.copyOf(model.namedParameters().keySet());

    adapters.attach("one", lora("q_proj"), 1);

    assertThat(adapters.model()).isSameAs(model);
    assertThat(model.namedParameters().keySet()).containsExactlyElementsOf(before);
    assertThat(adapters.attached("one").modules()).hasSize(2).contains(Q);
  }

  // ---- layers by keys

  @Test
  void keys_name_exactly_the_layers_whatever_the_config_says() {
    Attached attached =
        adapters.attach(
            "one",
            lora("q_proj", "v_proj"),
            keyed(
                PREFIX + Q + ".lora_A.weight",
                PREFIX + Q + ".lora_B.weight",
                UP + ".lora_A.weight"));

    assertThat(attached.modules()).containsExactlyInAnyOrder(Q, UP);
    assertThat(attached.warnings())
        .containsExactly(
            "the keys name [model.layers.1.mlp.up_proj], which the config does not",
            "the config names [model.layers.0.self_attn.v_proj, model.layers.1.self_attn.q_proj,"
                + " model.layers.1.self_attn.v_proj], which the keys do not");
    assertThat(Resolution.of(model, adapters.facts(), attached.config()).modules())
        .containsExactlyInAnyOrder(Q, UP);
  }

  @Test
  void keys_that_agree_with_the_config_are_worth_no_word() {
    Attached attached =
        adapters.attach(
            "one",
            lora("layers.0.self_attn.q_proj"),
            keyed(Q + ".lora_A.weight", Q + ".lora_B.weight"));

    assertThat(attached.modules()).containsExactly(Q);
    assertThat(attached.warnings()).isEmpty();
  }

  @Test
  void keys_stand_in_for_targets_that_a_config_lacks_and_ignore_its_choice_of_blocks() {
    Targets none = Targets.byArchitecture().onLayers(0);

    Attached attached =
        adapters.attach(
            "one", LoraConfig.builder().r(2).targets(none).build(), keyed(UP + ".lora_A.weight"));

    assertThat(attached.modules()).containsExactly(UP);
  }

  @Test
  void keys_that_can_not_be_meant_are_refused_and_nothing_is_changed() {
    Targets parameters = Targets.named("q_proj").withParameters(List.of("experts.up"));

    assertThatThrownBy(
            () ->
                adapters.attach(
                    "one", lora("q_proj").withTargets(parameters), keyed(Q + ".lora_A.weight")))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("target_parameters is [experts.up], but keys name layers");
    assertThatThrownBy(
            () -> adapters.attach("one", lora("q_proj"), keyed("model.layers.9.x.lora_A.weight")))
        .isInstanceOf(TargetException.class)
        .hasMessage(
            "the keys name [model.layers.9.x], which the model does not have; they belong to"
                + " another model");
    assertThatThrownBy(() -> adapters.attach("one", lora("q_proj"), keyed(Q + ".hira_A")))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("none of the 1 keys belongs to an adapter of LORA");
    assertThat(adapters.names()).isEmpty();
  }

  // ---- tensors out and in

  @Test
  void tensors_go_out_and_in_with_or_without_the_prefix_and_the_map_is_left_alone() {
    try (var _ = new NoGradGuard()) {
      adapters.attach("one", lora("q_proj"), 1);
      Tensor trained = output();
      var state = new LinkedHashMap<String, Tensor>();
      adapters.state("one").forEach((key, t) -> state.put(key, t.clone()));
      var bare = new LinkedHashMap<String, Tensor>();
      state.forEach((key, t) -> bare.put(key.substring(PREFIX.length()), t));
      for (Map<String, Tensor> given : List.of(state, bare)) {
        adapters.state("one").values().forEach(t -> there(t).zero_());
        var before = Map.copyOf(given);

        LoadResult result = adapters.setState("one", given, LoadOptions.defaults());

        assertThat(result.missing()).isEmpty();
        assertThat(result.unexpected()).isEmpty();
        assertThat(output().equal(trained)).isTrue();
        assertThat(given).isEqualTo(before);
      }
    }
  }

  // ---- what can be done with it

  @Test
  void an_adapter_without_a_wrapper_is_switched_frozen_cast_and_deleted() {
    try (var _ = new NoGradGuard()) {
      Tensor base = output();
      adapters.attach("one", lora("q_proj"), 1);
      adapters.add("two", lora("q_proj"), AttachOptions.seeded(2));
      Tensor one = output();

      adapters.setActive(List.of("two"));
      assertThat(output().equal(one)).isFalse();
      assertThat(adapters.parameters().keySet()).noneMatch(key -> key.startsWith("one/"));
      adapters.setRequiresGrad(List.of("two"), false);
      assertThat(adapters.parameters()).isEmpty();

      Tensor a = there(adapters.state("two").get(PREFIX + Q + ".lora_A.weight"));
      Tensor two = output();
      adapters.cast("two", ScalarType.BFloat16);
      assertThat(a.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      assertThat(output().allclose(two, 0.05, 0.1, false)).isTrue();
      adapters.cast("two", ScalarType.Float);
      assertThat(a.scalar_type().intern()).isEqualTo(ScalarType.Float);
      assertThatThrownBy(() -> adapters.cast("two", ScalarType.Long))
          .isInstanceOf(ConfigException.class)
          .hasMessageStartingWith("an adapter can not be Long");

      adapters.delete("two");
      assertThat(output().equal(one)).isTrue();
      adapters.delete("one");
      assertThat(output().equal(base)).isTrue();
    }
  }
}
