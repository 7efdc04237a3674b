package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Rows;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The life of adapters on a model. */
class AdaptersTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final LoraConfig LORA =
      LoraConfig.builder()
          .r(2)
          .init(new LoraInit.Unset())
          .targets(Targets.named("q_proj", "v_proj"))
          .build();

  private Scope scope = Scope.graph();
  private Tree model = Tree.decoder(2);
  private Adapters adapters = Adapters.of(model, Tree.facts());
  private Tensor x = new Tree.Draw(3).normal(4, 8);

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.graph();
    model = Tree.decoder(2);
    adapters = Adapters.of(model, Tree.facts());
    x = new Tree.Draw(3).normal(4, 8);
  }

  @AfterEach
  void close() {
    model.close();
    scope.close();
  }

  private Tensor q() {
    return model.at(Q).forward(x);
  }

  private Tensor base() {
    return model.at(Q).base(x);
  }

  private boolean trains(String name) {
    return adapters.on(name).values().stream().allMatch(Adapter::trainable);
  }

  // ---- attaching

  @Test
  void the_first_adapter_is_active_and_trainable_and_the_base_is_frozen() {
    Attached attached = adapters.attach("one", LORA, 1);

    assertThat(attached.modules()).hasSize(4);
    assertThat(adapters.active()).containsExactly("one");
    assertThat(trains("one")).isTrue();
    assertThat(q().equal(base())).isFalse();
    assertThat(model.namedParameters().values()).noneMatch(Tensor::requires_grad);
  }

  @Test
  void a_further_adapter_is_neither_active_nor_trainable_and_changes_nothing() {
    adapters.attach("one", LORA, 1);
    Tensor before = q().clone();

    adapters.add("two", LORA, AttachOptions.seeded(2));

    assertThat(adapters.active()).containsExactly("one");
    assertThat(trains("one")).isTrue();
    assertThat(trains("two")).isFalse();
    assertThat(q().equal(before)).isTrue();
  }

  @Test
  void the_same_seed_draws_the_same_numbers_whatever_else_is_attached() {
    adapters.attach("one", LORA, 1);
    var fewer = LORA.withTargets(Targets.named(Q));
    try (Tree other = Tree.decoder(2)) {
      var others = Adapters.of(other, Tree.facts());
      others.attach("one", fewer, 1);

      String key = "base_model.model." + Q + ".lora_A.weight";
      assertThat(there(adapters.state("one").get(key)).equal(there(others.state("one").get(key))))
          .isTrue();
    }
  }

  @Test
  void attaching_writes_down_what_it_found_out() {
    ModelFacts facts =
        Tree.facts()
            .withName("some/model", "main")
            .withAutoMapping(new AutoMapping("LlamaForCausalLM", "library"));
    var named = Adapters.of(model, facts);
    LoraConfig given =
        LoraConfig.builder().head(ConfigHead.empty().withBaseModel("other/model")).build();

    Attached attached = named.attach("one", given, 1);

    assertThat(attached.config().head().baseModel()).isEqualTo("some/model");
    assertThat(attached.config().head().revision()).isEqualTo("main");
    assertThat(attached.config().head().autoMapping()).isEqualTo(facts.autoMapping());
    assertThat(attached.config().targets().modules())
        .isEqualTo(new Modules.Named(List.of("q_proj", "v_proj")));
    assertThat(attached.warnings())
        .containsExactly("base_model_name_or_path was other/model and is now some/model");
    assertThat(given.targets().modules()).isEqualTo(new Modules.ByArchitecture());
  }

  @Test
  void another_revision_than_the_config_names_is_written_down_and_told() {
    ConfigHead said = ConfigHead.empty().withBaseModel("some/model").withRevision("v1");
    LoraConfig given = LoraConfig.builder().head(said).build();

    Attached same =
        Adapters.of(model, Tree.facts().withName("some/model", null)).attach("one", given, 1);
    Attached other =
        Adapters.of(Tree.decoder(1), Tree.facts().withName("some/model", "v2"))
            .attach("one", given, 1);

    assertThat(same.config().head().revision()).isEqualTo("v1");
    assertThat(same.warnings()).isEmpty();
    assertThat(other.config().head().revision()).isEqualTo("v2");
    assertThat(other.warnings()).containsExactly("revision was v1 and is now v2");
  }

  @Test
  void what_fails_while_attaching_leaves_the_model_as_it_was() {
    LoraConfig wrong = LORA.withTargets(Targets.named("q_proj", "input_layernorm"));

    assertThatThrownBy(() -> adapters.attach("one", wrong, 1))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("model.layers.0.input_layernorm is a RmsNorm but LoRA adapts");

    assertThat(adapters.names()).isEmpty();
    assertThat(model.at(Q).adapters().all()).isEmpty();
    assertThat(q().equal(base())).isTrue();
  }

  @Test
  void a_container_of_layers_can_not_be_adapted() {
    assertThatThrownBy(() -> adapters.attach("one", LORA.withTargets(Targets.named("mlp")), 1))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "model.layers.0.mlp is a Block, which can not be adapted; name the layers in it");
  }

  @Test
  void names_are_new_and_without_dots_and_slashes() {
    adapters.attach("one", LORA, 1);

    assertThatThrownBy(() -> adapters.add("one", LORA, AttachOptions.seeded(1)))
        .isInstanceOf(AdapterException.class)
        .hasMessage("the adapter one is there already; choose another name or delete it first");
    assertThatThrownBy(() -> adapters.add("a.b", LORA, AttachOptions.seeded(1)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "an adapter can not be called \"a.b\"; choose a name without dots and slashes, for it"
                + " becomes part of keys and folders");
    assertThatThrownBy(() -> adapters.add("../b", LORA, AttachOptions.seeded(1)))
        .isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> adapters.add("a/b", LORA, AttachOptions.seeded(1)))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("an adapter can not be called \"a/b\"");
    assertThatThrownBy(() -> adapters.add(Rows.BASE, LORA, AttachOptions.seeded(1)))
        .isInstanceOf(ConfigException.class);
    assertThat(adapters.add("lora", LORA, AttachOptions.seeded(1)).warnings())
        .contains("the name lora is part of lora_, which other readers of the file trip over");
  }

  @Test
  void two_methods_on_one_model_must_be_allowed() {
    HiraConfig hira = HiraConfig.defaults().withTargets(Targets.named("q_proj"));
    adapters.attach("one", LORA, 1);

    assertThatThrownBy(() -> adapters.add("two", hira, AttachOptions.seeded(1)))
        .isInstanceOf(AdapterException.class)
        .hasMessage(
            "two is HIRA but the adapter one of this model is LORA; allow it with"
                + " allowMixedMethods()");
    adapters.allowMixedMethods().add("two", hira, AttachOptions.seeded(1));
    adapters.setActive(List.of("one", "two"));
    Tensor both = q();
    adapters.merge(true);
    assertThat(q().sub(both).abs().max().item_double()).isLessThan(1e-5);
  }

  @Test
  void names_that_match_nothing_are_an_error_where_targets_are_strict() {
    LoraConfig loose = LORA.withTargets(Targets.named("q_proj", "x_proj"));

    assertThatThrownBy(
            () -> adapters.attach("one", loose, AttachOptions.seeded(1).withStrictTargets(true)))
        .isInstanceOf(TargetException.class)
        .hasMessageStartingWith("[x_proj] matches no layer");
  }

  @Test
  void a_layer_kind_of_the_users_own_gets_its_adapter_from_a_factory() {
    var made = new LinkedHashMap<String, Adaptable>();
    adapters.register(
        espalier.nn.Linear.class,
        (config, layer, path, init) -> {
          made.put(path, layer);
          return config.create(layer, path, init);
        });

    adapters.attach("one", LORA, 1);

    assertThat(made.keySet()).hasSize(4).contains(Q);
  }

  @Test
  void adapters_on_a_stacked_parameter_are_all_on_the_same_ones() {
    try (Tree experts = Tree.experts(1)) {
      var own = Adapters.of(experts, Tree.facts());
      LoraConfig down =
          LORA.withTargets(Targets.named().withParameters(List.of("experts.down_proj")));
      LoraConfig up =
          LORA.withTargets(Targets.named().withParameters(List.of("experts.gate_up_proj")));
      own.attach("one", down, 1);

      assertThatThrownBy(() -> own.add("two", up, AttachOptions.seeded(1)))
          .isInstanceOf(AdapterException.class)
          .hasMessage(
              "two targets the parameters [model.layers.0.mlp.experts.gate_up_proj] but one targets"
                  + " [model.layers.0.mlp.experts.down_proj]; all adapters of a model target the"
                  + " same");
    }
  }

  // ---- activating

  @Test
  void several_active_adapters_add_up_and_all_train() {
    adapters.attach("one", LORA, 1);
    Tensor one = q().sub(base());
    adapters.add("two", LORA, AttachOptions.seeded(2));
    adapters.setActive(List.of("two"));
    Tensor two = q().sub(base());

    adapters.setActive(List.of("one", "two"));

    assertThat(q().sub(base().add(one).add(two)).abs().max().item_double()).isLessThan(1e-5);
    assertThat(trains("one") && trains("two")).isTrue();
    assertThat(adapters.parameters().keySet())
        .contains("one/base_model.model." + Q + ".lora_A.weight")
        .hasSize(16);
  }

  @Test
  void activating_for_use_only_freezes_everything() {
    adapters.attach("one", LORA, 1);

    adapters.setActive(List.of("one"), true);

    assertThat(trains("one")).isFalse();
    assertThat(adapters.parameters()).isEmpty();
    adapters.setRequiresGrad(List.of("one"), true);
    assertThat(adapters.parameters()).hasSize(8);
  }

  @Test
  void an_unknown_adapter_is_refused_and_nothing_changes() {
    adapters.attach("one", LORA, 1);

    assertThatThrownBy(() -> adapters.setActive(List.of("zwei", "one", "drei")))
        .isInstanceOf(AdapterException.class)
        .hasMessage("there are no adapters [drei, zwei]; the model has [one]");
    assertThat(adapters.active()).containsExactly("one");
  }

  @Test
  void disabling_nests_and_ends_with_its_scope_even_when_the_body_fails() {
    adapters.attach("one", LORA, 1);
    Tensor adapted = q().clone();

    try (var _ = adapters.disable()) {
      try (var _ = adapters.disable()) {
        assertThat(q().equal(base())).isTrue();
      }
      assertThat(q().equal(base())).isTrue();
    }
    assertThatThrownBy(
            () -> {
              try (var _ = adapters.disable()) {
                throw new IllegalStateException("on purpose");
              }
            })
        .hasMessage("on purpose");

    assertThat(q().equal(adapted)).isTrue();
  }

  @Test
  void deleting_the_active_adapter_activates_the_first_of_the_rest_and_then_the_base() {
    adapters.attach("b", LORA, 1);
    adapters.add("c", LORA, AttachOptions.seeded(2));
    adapters.add("a", LORA, AttachOptions.seeded(3));

    assertThat(adapters.delete("b"))
        .containsExactly("the active adapter b is deleted, now a is active");
    assertThat(adapters.active()).containsExactly("a");
    adapters.delete("c");
    assertThat(adapters.active()).containsExactly("a");
    adapters.delete("a");
    assertThat(adapters.active()).isEmpty();
    assertThat(q().equal(base())).isTrue();
    assertThatThrownBy(() -> adapters.delete("a"))
        .hasMessage("there is no adapter a; the model has []");
  }

  // ---- merging

  @Test
  void a_merge_that_fails_on_one_layer_changes_none() {
    adapters.attach("one", LORA, 1);
    Tensor before = model.at(Q).weight().clone();
    Adapter last = there(adapters.on("one").get("model.layers.1.self_attn.v_proj"));
    try (var _ = new NoGradGuard()) {
      last.parameters().values().forEach(p -> p.fill_(new Scalar(Double.NaN)));
    }

    assertThatThrownBy(() -> adapters.merge(true))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith("model.layers.1.self_attn.v_proj: merging [one] gives");

    assertThat(model.at(Q).weight().equal(before)).isTrue();
    assertThat(adapters.merged()).isEmpty();
  }

  @Test
  void what_is_merged_is_passed_over_and_can_not_be_deleted() {
    adapters.attach("one", LORA, 1);
    adapters.merge(true);
    Tensor merged = model.at(Q).weight().clone();

    assertThat(adapters.merge(true).warnings())
        .containsExactly("[one] is merged already and is passed over");
    assertThat(model.at(Q).weight().equal(merged)).isTrue();
    assertThatThrownBy(() -> adapters.delete("one"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the adapter one is merged and can not be deleted; unmerge it first");
    adapters.unmerge();
    assertThat(adapters.unmerge()).containsExactly("nothing is merged");
  }

  @Test
  void activating_and_disabling_unmerge_first() {
    adapters.attach("one", LORA, 1);
    Tensor before = model.at(Q).weight().clone();
    adapters.merge(true);

    assertThat(adapters.setActive(List.of("one")))
        .containsExactly("[one] was merged and is unmerged to activate [one]");
    assertThat(model.at(Q).weight().equal(before)).isTrue();
    adapters.merge(true);
    try (var off = adapters.disable()) {
      assertThat(off.warnings()).containsExactly("[one] was merged and is unmerged to be disabled");
      assertThat(q().equal(base())).isTrue();
    }
    assertThat(adapters.merged()).isEmpty();
  }

  @Test
  void merging_and_unloading_leaves_a_plain_model_with_the_merged_weights() {
    adapters.attach("one", LORA, 1);
    Tensor adapted = q().clone();

    adapters.mergeAndUnload(true);

    assertThat(adapters.names()).isEmpty();
    assertThat(model.at(Q).adapters().all()).isEmpty();
    assertThat(q().sub(adapted).abs().max().item_double()).isLessThan(1e-5);
    assertThat(q().equal(base())).isTrue();
  }

  @Test
  void unloading_leaves_the_weights_bit_for_bit() {
    Tensor before = model.at(Q).weight().clone();
    adapters.attach("one", LORA, 1);
    adapters.merge(true);

    adapters.unload();

    assertThat(model.at(Q).weight().equal(before)).isTrue();
    assertThat(adapters.names()).isEmpty();
  }

  @Test
  void merging_one_of_two_tied_layers_tells_that_they_part() {
    var tied = List.of(List.of("model.embed_tokens", "lm_head"));
    var own = Adapters.of(model, Tree.facts().withTied(tied));

    Attached attached = own.attach("one", LORA.withTargets(Targets.named("embed_tokens")), 1);
    MergeResult result = own.merge(true);

    assertThat(attached.warnings())
        .containsExactly(
            "[model.embed_tokens, lm_head] share one weight; what is trained on one of them does"
                + " not act on the others unless ensure_weight_tying is set");
    assertThat(result.untied()).isEqualTo(tied);
    assertThat(result.warnings())
        .containsExactly(
            "[[model.embed_tokens, lm_head]] shared one weight and no longer do;"
                + " tie_word_embeddings must be false from here on");
  }

  // ---- scaling, rows, status

  @Test
  void the_scale_of_one_adapter_is_set_multiplied_and_reset() {
    adapters.attach("one", LORA, 1);
    Tensor branch = q().sub(base());

    adapters.setScale("one", 0.5);
    adapters.scaleLayers(4);
    Tensor twice = q().sub(base());
    adapters.unscaleLayers();

    assertThat(twice.sub(branch.mul(new Scalar(2))).abs().max().item_double()).isLessThan(1e-5);
    assertThat(q().sub(base()).equal(branch)).isTrue();
    assertThatThrownBy(() -> adapters.setScale("one", Double.NaN))
        .isInstanceOf(IllegalArgumentException.class);
    adapters.unload();
    assertThatThrownBy(() -> adapters.rescaled(1)).isInstanceOf(TargetException.class);
  }

  @Test
  void whoever_merges_is_told_of_each_layer_and_can_still_stop_it() {
    adapters.attach("one", LORA, 1);
    Tensor before = q();
    var told = new ArrayList<String>();
    var options = MergeOptions.defaults();

    assertThatThrownBy(
            () ->
                adapters.mergeAndUnload(
                    List.of("one"),
                    options.withProgress(
                        (_, _, _) -> {
                          throw new CancellationException("enough");
                        })))
        .isInstanceOf(CancellationException.class);
    boolean untouched = adapters.merged().isEmpty() && q().equal(before);
    adapters.mergeAndUnload(
        List.of("one"),
        options.withProgress((path, done, all) -> told.add("%s %d/%d".formatted(path, done, all))));

    assertThat(untouched).isTrue();
    assertThat(told.getFirst()).startsWith("model.layers.0.").endsWith(" 1/" + told.size());
    assertThat(told.getLast()).endsWith(" %d/%d".formatted(told.size(), told.size()));
  }

  @Test
  void a_mixed_batch_is_checked_before_it_runs() {
    adapters.attach("one", LORA, 1);

    assertThatThrownBy(() -> adapters.mixed(List.of("one"), 4, this::q))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "adapter_names has 1 names [one] but the batch has 4 rows; give one name a row,"
                + " __base__ for none");
    assertThatThrownBy(() -> adapters.mixed(List.of("x", "one", "b", "a"), 4, this::q))
        .isInstanceOf(AdapterException.class)
        .hasMessage("there are no adapters [a, b, x]; the model has [one]");
    model.train(true);
    assertThatThrownBy(() -> adapters.mixed(List.of("one"), 1, this::q))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("in training");
    model.train(false);
    adapters.merge(true);
    assertThatThrownBy(() -> adapters.mixed(List.of("one"), 1, this::q))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("while [one] is merged; unmerge first");
    adapters.mergeAndUnload(true);
    assertThatThrownBy(() -> adapters.mixed(List.of("one"), 1, this::q))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "adapter_names is [one] but the model has no adapters; attach one, or leave the names"
                + " out");
  }

  @Test
  void a_row_whose_adapter_is_not_on_a_layer_and_a_disabled_model_get_the_base() {
    adapters.attach("one", LORA, 1);
    adapters.add("k", LORA.withTargets(Targets.named("k_proj")), AttachOptions.seeded(2));
    List<String> names = List.of("k", "one", "k", "one");

    Tensor mixed = adapters.mixed(names, 4, this::q);
    Tensor off;
    try (var _ = adapters.disable()) {
      off = adapters.mixed(names, 4, this::q);
    }

    assertThat(mixed.select(0, 0).sub(base().select(0, 0)).abs().max().item_double())
        .isLessThan(1e-6);
    assertThat(mixed.select(0, 1).sub(q().select(0, 1)).abs().max().item_double()).isLessThan(1e-5);
    assertThat(off.equal(base())).isTrue();
  }

  @Test
  void a_failing_forward_leaves_no_trace_of_its_rows() {
    adapters.attach("one", LORA, 1);
    Tensor before = q().clone();

    assertThatThrownBy(
            () ->
                adapters.mixed(
                    List.of(Rows.BASE),
                    1,
                    () -> {
                      throw new IllegalStateException("on purpose");
                    }))
        .hasMessage("on purpose");

    assertThat(q().equal(before)).isTrue();
  }

  @Test
  void the_status_tells_layers_and_model() {
    adapters.attach("one", LORA, 1);
    adapters.add("two", LORA.withTargets(Targets.named("k_proj")), AttachOptions.seeded(2));

    LayerStatus layer = adapters.layerStatus().getFirst();
    ModelStatus status = adapters.status();

    assertThat(layer.path()).isEqualTo(Q);
    assertThat(layer.type()).isEqualTo("Linear");
    assertThat(layer.gradients()).isEqualTo(Map.of("one", LayerStatus.Gradients.YES));
    assertThat(layer.devices()).isEqualTo(Map.of("one", "cpu"));
    assertThat(status.layers()).isEqualTo(6);
    assertThat(status.peftTypes()).isEqualTo(Map.of("one", "LORA", "two", "LORA"));
    assertThat(status.active()).containsExactly("one");
    assertThat(status.merged()).isEmpty();
    assertThat(status.enabled()).isTrue();
    assertThat(status.gradients())
        .isEqualTo(Map.of("one", LayerStatus.Gradients.YES, "two", LayerStatus.Gradients.NO));
    model.at(Q).adapters().disable();
    assertThat(adapters.status().enabled()).as("layers disagree").isNull();
  }

  @Test
  void the_line_on_trainable_parameters_is_the_same_in_every_country() {
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.GERMANY);
    try {
      adapters.attach("one", LORA, 1);

      // the base has 2·404 + 8 + 2·160 = 1136; rank 2 on 8→8 and 8→4 adds 32 + 24 a block
      assertThat(adapters.trainableLine())
          .isEqualTo("trainable params: 112 || all params: 1,248 || trainable%: 8.9744");
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  void a_factor_that_is_frozen_counts_among_all_parameters_and_not_among_the_trained() {
    adapters.attach("one", LORA.toBuilder().init(new LoraInit.Mica()).build(), 1);

    // as above, but of 2·8 + 8·2 and 2·8 + 4·2 a block only the A's, 16 each, are trained
    assertThat(adapters.trainableLine())
        .isEqualTo("trainable params: 64 || all params: 1,248 || trainable%: 5.1282");
  }
}
