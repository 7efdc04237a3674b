package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Layer;
import espalier.nn.TransposedLinear;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class ResolutionTest {

  private static final Tree MODEL = Tree.decoder(3);

  private static Resolution resolve(Targets targets) {
    return resolve(MODEL, LoraConfig.builder().targets(targets).build());
  }

  private static Resolution resolve(Layer model, AdapterConfig config) {
    return Resolution.of(model, Tree.facts(), config);
  }

  static Stream<Arguments> choices() {
    return Stream.of(
        Arguments.of(Targets.named("q_proj"), "0.q 1.q 2.q"),
        Arguments.of(Targets.named("proj", "q_proj"), "0.q 1.q 2.q"),
        Arguments.of(Targets.named("self_attn.q_proj", "1.mlp.up_proj"), "0.q 1.q 1.up 2.q"),
        Arguments.of(Targets.named("model.layers.2.self_attn.v_proj"), "2.v"),
        Arguments.of(Targets.matching(".*\\.1\\..*(q|v)_proj"), "1.q 1.v"),
        Arguments.of(Targets.byArchitecture(), "0.q 0.v 1.q 1.v 2.q 2.v"),
        Arguments.of(Targets.named("q_proj").onLayers(1), "1.q"),
        Arguments.of(Targets.named("q_proj").onLayers(), "0.q 1.q 2.q"),
        Arguments.of(
            Targets.named("q_proj", "model.layers.0.self_attn.v_proj").onLayers(1), "0.v 1.q"),
        Arguments.of(
            Targets.named("q_proj")
                .withLayers(OneOrMany.one(2), OneOrMany.many(List.of("blocks", "layers"))),
            "2.q"),
        Arguments.of(Targets.named("q_proj", "v_proj").except("v_proj"), "0.q 1.q 2.q"),
        Arguments.of(
            Targets.named("q_proj").withExclude(new Modules.Matching(".*\\.0\\..*")), "1.q 2.q"),
        Arguments.of(Targets.named("q_proj", "lm_head").saving("lm_head"), "0.q 1.q 2.q"),
        Arguments.of(Targets.named("q_proj").saving("layers.1"), "0.q 2.q"));
  }

  @ParameterizedTest
  @MethodSource("choices")
  void targets_choose_these_layers(Targets targets, String expected) {
    Stream<String> paths =
        Stream.of(expected.split(" ", -1))
            .map(p -> "model.layers." + p)
            .map(p -> p.replaceAll("\\.([qv])$", ".self_attn.$1_proj"))
            .map(p -> p.replaceAll("\\.up$", ".mlp.up_proj"));

    assertThat(resolve(targets).modules()).containsExactlyElementsOf(paths.toList());
  }

  @Test
  void all_linear_leaves_the_output_head_and_the_embedding_out() {
    Resolution resolution = resolve(Targets.allLinear());

    assertThat(resolution.modules()).hasSize(18).noneMatch(p -> p.contains("embed"));
    assertThat(resolution.modules()).doesNotContain("lm_head");
    assertThat(resolution.targets().modules()).isEqualTo(new Modules.Named(resolution.modules()));
  }

  @Test
  void all_linear_on_a_deep_model_is_written_down_as_the_last_names() {
    Resolution resolution =
        resolve(Tree.decoder(8), HiraConfig.defaults().withTargets(Targets.allLinear()));

    assertThat(resolution.modules()).hasSize(48);
    assertThat(resolution.targets().modules())
        .isEqualTo(
            new Modules.Named(
                List.of("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")));
  }

  @Test
  void all_linear_leaves_a_classifier_out_where_there_is_no_output_head() {
    var classifier = Tree.decoder(1);
    var tree =
        Tree.empty()
            .with("bert", classifier)
            .with("classifier", new espalier.nn.Linear(torch.zeros(2, 8), null));
    LoraConfig config =
        LoraConfig.builder().task(TaskType.SEQ_CLS).targets(Targets.allLinear()).build();

    Resolution resolution = Resolution.of(tree, ModelFacts.of("bert"), config);

    assertThat(resolution.modules()).contains("bert.lm_head").doesNotContain("classifier");
    assertThat(resolution.saved()).containsExactly("classifier");
    assertThat(resolution.targets().saved()).containsExactly("classifier", "score");
  }

  @ParameterizedTest
  @CsvSource({
    "SEQ_CLS, classifier score, score",
    "TOKEN_CLS, classifier score, classifier",
    "QUESTION_ANS, qa_outputs, qa_outputs"
  })
  void the_new_head_of_a_task_is_trained_and_saved_whole(TaskType task, String heads, String own) {
    var tree =
        Tree.decoder(1)
            .with(own, new espalier.nn.Linear(torch.zeros(2, 8), null))
            .with("other_" + own, new espalier.nn.Linear(torch.zeros(2, 8), null));
    LoraConfig config = LoraConfig.builder().task(task).targets(Targets.named("q_proj")).build();
    var adapters = Adapters.of(tree, ModelFacts.of("bert"));

    Attached attached = adapters.attach("one", config, 1);

    assertThat(attached.config().targets().saved()).isEqualTo(List.of(heads.split(" ")));
    assertThat(attached.saved()).containsExactly(own);
    for (var tensors : List.of(adapters.state("one"), adapters.parameters())) {
      assertThat(tensors)
          .containsKey("base_model.model." + own + ".weight")
          .doesNotContainKey("base_model.model.other_" + own + ".weight");
    }
  }

  @Test
  void a_head_in_two_parts_is_trained_whole_where_the_model_has_one() {
    var tree =
        Tree.decoder(1)
            .with("pre_classifier", new espalier.nn.Linear(torch.zeros(8, 8), null))
            .with("classifier", new espalier.nn.Linear(torch.zeros(2, 8), null));
    LoraConfig config =
        LoraConfig.builder().task(TaskType.SEQ_CLS).targets(Targets.named("q_proj")).build();

    Resolution resolution = Resolution.of(tree, ModelFacts.of("distilbert"), config);

    assertThat(resolution.saved()).containsExactlyInAnyOrder("pre_classifier", "classifier");
    assertThat(resolution.targets().saved())
        .containsExactly("classifier", "score", "pre_classifier");
  }

  @Test
  void names_to_save_are_whole_names_and_reach_every_layer_below() {
    assertThat(resolve(Targets.named("q_proj").saving("norm")).saved())
        .containsExactly("model.norm");
    assertThat(resolve(Targets.named("q_proj").saving("layers.0.mlp")).saved())
        .containsExactly("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj");
  }

  @Test
  void a_name_to_save_that_matches_nothing_is_told() {
    Resolution resolution = resolve(Targets.named("q_proj").saving("lm_haed"));

    assertThat(resolution.warnings())
        .containsExactly(
            "modules_to_save has lm_haed, which matches no layer; nearest is lm_head (1 layer)");
    assertThat(resolution.unmatched()).containsExactly("lm_haed");
  }

  @Test
  void stacked_parameters_are_found_by_their_own_names_only() {
    Tree model = Tree.experts(2);
    Targets targets = Targets.named().withParameters(List.of("experts.down_proj"));

    Resolution byParameter = resolve(model, LoraConfig.builder().targets(targets).build());
    Resolution byModule =
        resolve(model, LoraConfig.builder().targets(Targets.named("down_proj")).build());

    assertThat(byParameter.modules()).isEmpty();
    assertThat(byParameter.parameters())
        .containsExactly(
            "model.layers.0.mlp.experts.down_proj", "model.layers.1.mlp.experts.down_proj");
    assertThat(byModule.parameters()).isEmpty();
    assertThat(byModule.modules()).hasSize(2).noneMatch(p -> p.contains("experts"));
  }

  @Test
  void a_transposed_target_is_written_down() {
    Tree model = Tree.empty().with("h.0.c_attn", new TransposedLinear(torch.zeros(4, 6), null));

    Resolution resolution =
        resolve(model, LoraConfig.builder().targets(Targets.named("c_attn")).build());

    assertThat(resolution.targets().fanInFanOut()).isTrue();
  }

  // ---- sentences

  @Test
  void a_typing_error_is_answered_with_the_nearest_name() {
    assertThatThrownBy(() -> resolve(Targets.named("q_porj")))
        .isInstanceOf(TargetException.class)
        .hasMessage("target_modules [q_porj] matches no layer; nearest is q_proj (3 layers)");
  }

  @Test
  void a_name_like_no_other_is_answered_with_all_names() {
    assertThatThrownBy(() -> resolve(Targets.named("nowhere")))
        .hasMessage(
            "target_modules [nowhere] matches no layer; the model has down_proj, embed_tokens,"
                + " input_layernorm, k_proj, lm_head, norm, o_proj, q_proj, up_proj, v_proj");
  }

  @Test
  void a_limit_on_layers_is_named_when_nothing_matches() {
    assertThatThrownBy(() -> resolve(Targets.named("q_proj").onLayers(7)))
        .hasMessage(
            "target_modules [q_proj] matches no layer; nearest is q_proj (3 layers);"
                + " layers_to_transform [7] limits the layers");
  }

  @Test
  void an_expression_that_matches_no_whole_path_is_explained() {
    assertThatThrownBy(() -> resolve(Targets.matching("q_proj")))
        .hasMessage(
            "target_modules \"q_proj\" matches no layer; a regular expression must match the whole"
                + " path, such as model.layers.0.self_attn.q_proj");
  }

  @Test
  void excluding_everything_is_told_apart_from_matching_nothing() {
    assertThatThrownBy(() -> resolve(Targets.named("q_proj").except("q_proj")))
        .isInstanceOf(TargetException.class)
        .hasMessage(
            "all 3 layers that target_modules [q_proj] names are excluded by exclude_modules"
                + " [q_proj] or are in modules_to_save []; exclude less");
    assertThatThrownBy(() -> resolve(Targets.named("q_proj", "x_proj").except("q_proj")))
        .hasMessageContaining("and [x_proj] matches no layer, nearest is k_proj (3 layers)");
  }

  @Test
  void naming_nothing_at_all_is_refused() {
    assertThatThrownBy(() -> resolve(Targets.named()))
        .hasMessage(
            "neither target_modules nor target_parameters names anything; name layers, such as"
                + " all-linear");
  }

  @Test
  void an_unknown_architecture_needs_names() {
    assertThatThrownBy(() -> Resolution.of(MODEL, ModelFacts.of("novel"), LoraConfig.defaults()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "target_modules is not set and nothing is known about the model type novel; name"
                + " target_modules, such as all-linear, or target_parameters");
  }

  @Test
  void the_weight_of_a_linear_layer_is_adapted_as_the_layer_is() {
    Targets targets = Targets.named().withParameters(List.of("layers.0.self_attn.q_proj.weight"));

    Resolution resolution = resolve(targets);

    assertThat(resolution.modules()).isEmpty();
    assertThat(resolution.parameters()).containsExactly("model.layers.0.self_attn.q_proj");
  }

  @Test
  void a_layer_and_its_weight_are_not_both_named() {
    Targets targets =
        Targets.named("q_proj").withParameters(List.of("layers.0.self_attn.q_proj.weight"));

    assertThatThrownBy(() -> resolve(targets))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("leave one of the two out");
  }

  @Test
  void entries_and_exclusions_and_patterns_without_effect_are_told() {
    LoraConfig config =
        LoraConfig.builder()
            .targets(Targets.named("q_proj", "x_proj").except("gate"))
            .rankPattern(Map.of("z", 2, "proj", 4, "q_proj", 3))
            .build();

    assertThat(resolve(MODEL, config).warnings())
        .containsExactly(
            "target_modules [x_proj] matches no layer; nearest is k_proj (3 layers)",
            "exclude_modules [gate] excludes nothing",
            "rank_pattern has [proj, z], which hits no targeted layer");
  }

  @Test
  void parameters_without_a_hit_beside_modules_are_told() {
    Targets targets = Targets.named("q_proj").withParameters(List.of("experts.none"));

    assertThat(resolve(targets).warnings())
        .containsExactly(
            "target_parameters [experts.none] matches no stacked parameter; only target_modules are"
                + " adapted");
  }
}
