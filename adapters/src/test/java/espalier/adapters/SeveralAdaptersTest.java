package espalier.adapters;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adapter;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What adapters of one model may do to each other, and what not. */
class SeveralAdaptersTest extends OnDecoder {

  private static final String Q = "model.layers.0.self_attn.q_proj";

  SeveralAdaptersTest() {
    super(2, 4);
  }

  private static LoraConfig lora(LoraInit init) {
    return LoraConfig.builder().r(2).init(init).targets(Targets.named("q_proj", "v_proj")).build();
  }

  private static LoraConfig lora() {
    return lora(new LoraInit.Unset());
  }

  private void add(String name, AdapterConfig config) {
    adapters.add(name, config, AttachOptions.seeded(name.hashCode()));
  }

  private Tensor q() {
    return model.at(Q).forward(x);
  }

  private Tensor base() {
    return model.at(Q).base(x);
  }

  // ---- a changed base

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void a_start_that_changes_the_base_is_told_of_whichever_adapter_comes_first(boolean first) {
    for (LoraInit init : List.of(new LoraInit.Pissa(), new LoraInit.Olora())) {
      Adapters own = Adapters.of(Tree.decoder(1), Tree.facts());
      own.attach("one", lora(first ? init : new LoraInit.Uniform()), 1);

      Attached added =
          own.add("two", lora(first ? new LoraInit.Uniform() : init), AttachOptions.seeded(2));

      assertThat(added.warnings())
          .containsExactly(
              "the base is not the one that both adapters were trained on: one or this one starts"
                  + " from factors that are taken out of the base");
      own.model().close();
    }
  }

  @Test
  void other_starts_have_nothing_to_tell_of_each_other() {
    adapters.attach("one", lora(new LoraInit.Orthogonal()), 1);

    assertThat(adapters.add("two", lora(), AttachOptions.seeded(2)).warnings()).isEmpty();
  }

  @Test
  void a_disabled_adapter_leaves_what_its_start_took_out_of_the_base_and_tells() {
    adapters.attach("one", lora(new LoraInit.Pissa()), 1);

    try (var off = adapters.disable()) {
      assertThat(off.warnings())
          .containsExactly(
              "the start of one took something out of the base, which is not put back while it is"
                  + " disabled");
      assertThat(q().equal(base())).isTrue();
    }
  }

  @Test
  void a_start_that_can_not_be_made_plain_later_is_told_of_when_it_is_attached() {
    LoraConfig config =
        lora(new LoraInit.Olora()).toBuilder()
            .rslora(true)
            .rankPattern(Map.of("v_proj", 3))
            .build();

    assertThat(adapters.attach("one", config, 1).warnings())
        .anyMatch(
            w -> w.startsWith("the adapter can not be made plain LoRA for the untouched base"));
    assertThat(adapters.add("two", lora(), AttachOptions.seeded(2)).warnings())
        .noneMatch(w -> w.startsWith("the adapter can not be made plain LoRA"));
  }

  // ---- other methods

  @Test
  void adapters_of_two_methods_add_up_in_one_layer_and_merge() {
    adapters.allowMixedMethods();
    adapters.attach("one", lora(), 1);
    add("two", HiraConfig.defaults().withR(2).withTargets(Targets.named("q_proj")));
    there(adapters.on("two").get(Q)).parameters().values().forEach(p -> p.fill_(half()));
    Tensor one = q().sub(base());
    adapters.setActive(List.of("two"), false);
    Tensor two = q().sub(base());

    adapters.setActive(List.of("one", "two"), false);
    Tensor both = q().sub(base());
    Tensor unmerged = q();
    adapters.merge(true);

    assertThat(two.abs().max().item_double()).isGreaterThan(1e-2);
    assertThat(gap(both, one.add(two))).isLessThan(1e-4);
    assertThat(gap(q(), unmerged)).isLessThan(1e-4);
  }

  private static Scalar half() {
    return new Scalar(0.5);
  }

  // ---- gradients

  @Test
  void an_adapter_that_joins_leaves_the_flags_of_those_that_are_there() {
    adapters.attach("one", lora(), 1);
    adapters.setRequiresGrad(List.of("one"), false);

    add("two", lora());

    assertThat(trains("one")).isFalse();
    assertThat(trains("two")).isFalse();
    adapters.setRequiresGrad(List.of("two"), true);
    assertThat(trains("two")).isTrue();
    assertThat(adapters.active()).containsExactly("one");
  }

  @Test
  void a_config_for_use_only_attaches_and_activates_without_gradients() {
    LoraConfig config = lora().withHead(ConfigHead.empty().withInferenceMode(true));

    adapters.attach("one", config, 1);
    add("two", lora());

    assertThat(adapters.parameters()).isEmpty();
    adapters.setActive(List.of("one"));
    assertThat(trains("one")).isFalse();
    adapters.setActive(List.of("one", "two"));
    assertThat(trains("two")).isTrue();
  }

  @Test
  void all_linear_means_the_same_layers_on_a_model_that_has_an_adapter() {
    adapters.attach("one", lora().withTargets(Targets.allLinear()), 1);

    add("two", lora().withTargets(Targets.allLinear()));

    assertThat(adapters.attached("two").modules()).isEqualTo(adapters.attached("one").modules());
  }

  private boolean trains(String name) {
    return adapters.on(name).values().stream().allMatch(Adapter::trainable);
  }

  @Test
  void only_adapters_collect_gradients_whatever_is_called_in_whatever_order() {
    adapters.attach("mica", lora(new LoraInit.Mica()), 1);
    add("plain", lora());
    add("dora", lora().toBuilder().variant(new LoraVariant.Dora()).build());
    var draw = new Random(1);
    List<String> names = adapters.names();

    for (int i = 0; i < 200; i++) {
      String name = names.get(draw.nextInt(names.size()));
      switch (draw.nextInt(6)) {
        case 0 -> adapters.setActive(List.of(name), draw.nextBoolean());
        case 1 -> adapters.setRequiresGrad(names, draw.nextBoolean());
        case 2 -> adapters.setActive(names, false);
        case 3 -> adapters.disable().close();
        case 4 -> adapters.merge(List.of(name), false);
        default -> adapters.unmerge();
      }

      model.walk(
          (_, layer) ->
              layer.parameters().values().forEach(p -> assertThat(p.requires_grad()).isFalse()));
      for (Adapter mica : adapters.on("mica").values()) {
        assertThat(there(mica.state().get("lora_B.weight")).requires_grad()).isFalse();
      }
    }
  }

  // ---- call sequences

  @Test
  void whatever_is_called_in_whatever_order_the_output_is_that_of_the_active_adapters() {
    adapters.attach("a", lora(), 1);
    add("b", lora());
    add("c", lora().toBuilder().rslora(true).build());
    Tensor pristine = base().clone();
    Map<String, Tensor> branch = new HashMap<>();
    for (String name : adapters.names()) {
      adapters.setActive(List.of(name), false);
      branch.put(name, q().sub(pristine).clone());
    }
    var draw = new Random(2);

    for (int i = 0; i < 150; i++) {
      List<String> some = adapters.names().stream().filter(_ -> draw.nextBoolean()).toList();
      switch (draw.nextInt(5)) {
        case 0 -> {
          if (!some.isEmpty()) {
            adapters.setActive(some, draw.nextBoolean());
          }
        }
        case 1 -> adapters.merge(draw.nextBoolean());
        case 2 -> adapters.unmerge();
        case 3 -> {
          try (var _ = adapters.disable()) {
            assertThat(gap(q(), pristine)).isLessThan(1e-5);
          }
        }
        default -> {
          try (var _ = adapters.rescaled(2)) {
            if (adapters.merged().isEmpty()) {
              assertThat(gap(q(), sum(pristine, branch, 2))).isLessThan(1e-4);
            }
          }
        }
      }

      assertThat(gap(q(), sum(pristine, branch, 1))).as("after %d calls", i).isLessThan(1e-4);
    }
    adapters.unmerge();
    assertThat(base().equal(pristine)).isTrue();
  }

  private Tensor sum(Tensor base, Map<String, Tensor> branch, double scale) {
    Tensor sum = base;
    for (String name : adapters.active()) {
      sum = sum.add(there(branch.get(name)).mul(new Scalar(scale)));
    }
    return sum;
  }

  // ---- scaling

  @Test
  void a_scale_is_divided_by_what_it_was_multiplied_by() {
    adapters.attach("one", lora(), 1);
    add("idle", lora());
    adapters.setScale("one", 3);

    adapters.scaleLayers(4);
    adapters.unscaleLayers(2);

    assertThat(there(adapters.on("one").get(Q)).scale()).isEqualTo(6);
    assertThat(there(adapters.on("idle").get(Q)).scale()).isEqualTo(1);
    assertThatThrownBy(() -> adapters.unscaleLayers(0))
        .isInstanceOf(ConfigException.class)
        .hasMessage("a factor can not be divided by 0; unscaleLayers() sets it to 1");
  }

  @Test
  void a_rescaling_ends_with_its_scope_even_when_the_body_fails() {
    adapters.attach("one", lora(), 1);
    adapters.setScale("one", 0.1);

    assertThatThrownBy(
            () -> {
              try (var _ = adapters.rescaled(0.3)) {
                assertThat(there(adapters.on("one").get(Q)).scale()).isEqualTo(0.1 * 0.3);
                throw new IllegalStateException("on purpose");
              }
            })
        .hasMessage("on purpose");

    assertThat(there(adapters.on("one").get(Q)).scale()).isEqualTo(0.1);
    assertThatThrownBy(() -> adapters.rescaled(Double.NaN))
        .isInstanceOf(ConfigException.class)
        .hasMessage("the scale is NaN but a finite number is needed; 1 is the adapter as trained");
  }

  // ---- status

  @Test
  void gradients_that_differ_within_an_adapter_or_between_layers_are_irregular() {
    adapters.attach("one", lora(), 1);

    there(there(adapters.on("one").get(Q)).parameters().get("lora_A.weight"))
        .set_requires_grad(false);

    assertThat(adapters.layerStatus().getFirst().gradients())
        .isEqualTo(Map.of("one", LayerStatus.Gradients.IRREGULAR));
    assertThat(adapters.layerStatus().get(1).gradients())
        .isEqualTo(Map.of("one", LayerStatus.Gradients.YES));
    assertThat(adapters.status().gradients())
        .isEqualTo(Map.of("one", LayerStatus.Gradients.IRREGULAR));
  }

  @Test
  void an_adapter_merged_on_some_layers_only_makes_the_merged_ones_unknown() {
    adapters.attach("one", lora(), 1);
    adapters.merge(true);
    assertThat(adapters.status().merged()).containsExactly("one");

    model.at(Q).adapters().unmerge();

    assertThat(adapters.status().merged()).as("layers disagree").isNull();
    assertThat(adapters.layerStatus().getFirst().merged()).isEmpty();
  }

  @Test
  void a_model_without_adapters_has_no_status() {
    assertThatThrownBy(adapters::status)
        .isInstanceOf(TargetException.class)
        .hasMessage("the model has no adapter; attach one first");
    assertThatThrownBy(adapters::layerStatus).isInstanceOf(TargetException.class);
  }

  // ---- layers that a model computes past

  @ParameterizedTest
  @ValueSource(strings = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"})
  void layers_that_a_state_space_model_computes_past_are_refused(String type) {
    Tree tree = Tree.empty().with("mixer.out_proj", model.at(Q)).with("mixer.in_proj", model.at(Q));
    Adapters own = Adapters.of(tree, ModelFacts.of(type));

    assertThatThrownBy(
            () -> own.attach("one", lora().withTargets(Targets.named("in_proj", "out_proj")), 1))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "mixer.out_proj can not be adapted because "
                + type
                + " models compute past it; take it out of target_modules");
    assertThat(own.names()).isEmpty();
    own.attach("one", lora().withTargets(Targets.named("in_proj")), 1);
    assertThat(own.attached("one").modules()).containsExactly("mixer.in_proj");
  }
}
