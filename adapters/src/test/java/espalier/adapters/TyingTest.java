package espalier.adapters;

import static espalier.adapters.TiedModel.EMBEDDING;
import static espalier.adapters.TiedModel.HEAD;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code ensure_weight_tying}: layers of one weight share what is trained on it. */
class TyingTest {

  private static final String PREFIX = "base_model.model.";
  private static final String A = PREFIX + EMBEDDING + ".lora_embedding_A";
  private static final String HEAD_B = PREFIX + HEAD + ".lora_B.weight";

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder lora(Targets targets, boolean ensure) {
    return LoraConfig.builder()
        .r(2)
        .init(new LoraInit.Unset())
        .targets(targets)
        .ensureWeightTying(ensure);
  }

  private static LoraConfig saving(boolean ensure, String... names) {
    return lora(Targets.named("q_proj").saving(names), ensure).build();
  }

  private static LoraConfig on(boolean ensure, String... names) {
    return lora(Targets.named(names), ensure).build();
  }

  private static Map<String, Tensor> copied(Map<String, Tensor> state) {
    var copy = new LinkedHashMap<String, Tensor>();
    state.forEach((key, tensor) -> copy.put(key, tensor.detach().clone()));
    return copy;
  }

  private static boolean near(Tensor a, Tensor b) {
    return a.allclose(b, 1e-9, 1e-10, false);
  }

  // ---- target_modules

  @ParameterizedTest
  @ValueSource(strings = {"embed_tokens", "lm_head", "embed_tokens,lm_head"})
  void either_side_of_a_tie_means_both_with_one_pair_of_factors(String names) {
    try (var model = TiedModel.tied()) {
      Attached attached = model.adapters.attach("one", on(true, names.split(",")), 1);

      assertThat(attached.modules()).containsExactly(EMBEDDING, HEAD);
      assertThat(attached.warnings()).isEmpty();
      assertThat(((Modules.Named) attached.config().targets().modules()).names())
          .contains(EMBEDDING)
          .doesNotContain(HEAD);
      assertThat(model.adapters.parameters()).hasSize(2).containsKey(A);
      Map<String, Tensor> state = model.adapters.state("one", SaveEmbeddings.NO);
      assertThat(state).hasSize(4);
      assertThat(there(state.get(HEAD_B)).t().equal(there(state.get(A)))).isTrue();
      assertThat(model.adapters.status().trainable()).isEqualTo(2 * (7 + 4));
    }
  }

  @Test
  void the_shared_gradient_is_that_of_finite_differences() {
    try (var model = TiedModel.tied()) {
      model.adapters.attach("one", on(true, "embed_tokens"), 1);
      model.loss().backward();

      model
          .adapters
          .parameters()
          .forEach(
              (key, p) -> {
                Tensor gradient = new Tensor(p.grad()).reshape(-1);
                for (long i = 0; i < p.numel(); i++) {
                  assertThat(gradient.get(i).item_double())
                      .as("%s at %d", key, i)
                      .isCloseTo(slope(model, p, i), offset(1e-5)); // slopes reach 200
                }
              });
    }
  }

  private static double slope(TiedModel model, Tensor parameter, long entry) {
    double step = 1e-5;
    try (var _ = new NoGradGuard();
        var _ = Scope.open()) {
      Tensor one = parameter.view(-1).narrow(0, entry, 1);
      one.add_(new Scalar(step));
      double above = model.loss().item_double();
      one.sub_(new Scalar(2 * step));
      double below = model.loss().item_double();
      one.add_(new Scalar(step));
      return (above - below) / (2 * step);
    }
  }

  @Test
  void merging_adds_to_the_shared_weight_once_and_keeps_it_shared() {
    try (var model = TiedModel.tied();
        var _ = new NoGradGuard()) {
      Tensor before = model.tree.at(EMBEDDING).weight().clone();
      model.adapters.attach("one", on(true, "embed_tokens"), 1);
      Tensor unmerged = model.logits();

      MergeResult result = model.adapters.merge(true);

      assertThat(near(model.logits(), unmerged)).isTrue();
      assertThat(model.shareOneWeight()).isTrue();
      assertThat(result.untied()).isEmpty();
      assertThat(result.warnings()).isEmpty();

      model.adapters.unmerge();
      assertThat(model.tree.at(EMBEDDING).weight().equal(before)).isTrue();
      assertThat(model.shareOneWeight()).isTrue();
      assertThat(model.logits().equal(unmerged)).isTrue();

      model.adapters.mergeAndUnload(false);
      assertThat(model.shareOneWeight()).isTrue();
      assertThat(near(model.logits(), unmerged)).isTrue();
    }
  }

  @Test
  void a_saved_tie_loads_as_a_tie_also_from_one_side_alone() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied();
        var third = TiedModel.tied();
        var _ = new NoGradGuard()) {
      LoraConfig config = on(true, "embed_tokens");
      Attached attached = model.adapters.attach("one", config, 1);
      Map<String, Tensor> state = copied(model.adapters.state("one"));

      LoadResult result =
          other.adapters.load("one", attached.config(), state, LoadOptions.defaults());
      assertThat(result.missing()).isEmpty();
      assertThat(result.unexpected()).isEmpty();
      assertThat(other.logits().equal(model.logits())).isTrue();

      state.keySet().removeIf(key -> key.contains("lora_embedding"));
      result = third.adapters.load("one", config, state, LoadOptions.defaults());
      assertThat(result.missing()).isEmpty();
      assertThat(third.logits().equal(model.logits())).isTrue();
    }
  }

  @Test
  void a_file_whose_two_sides_differ_is_no_tie_and_is_refused() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied()) {
      LoraConfig config = on(true, "embed_tokens");
      model.adapters.attach("one", config, 1);
      Map<String, Tensor> state = copied(model.adapters.state("one"));
      there(state.get(HEAD_B)).add_(new Scalar(1));

      assertThatThrownBy(() -> other.adapters.load("one", config, state, LoadOptions.defaults()))
          .isInstanceOf(StateMismatchException.class)
          .hasMessageStartingWith(
              "lm_head: lora_B.weight is not what model.embed_tokens has, though"
                  + " ensure_weight_tying says that they are one");
      assertThat(other.adapters.names()).isEmpty();
    }
  }

  @Test
  void a_regular_expression_is_widened_to_the_source_once() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied()) {
      LoraConfig config = lora(Targets.matching(".*embed_tokens|lm_head"), true).build();

      Modules widened = model.adapters.attach("one", config, 1).config().targets().modules();
      Modules again =
          other
              .adapters
              .attach("one", config.withTargets(config.targets().withModules(widened)), 1)
              .config()
              .targets()
              .modules();

      assertThat(widened)
          .isEqualTo(new Modules.Matching("(?:.*embed_tokens|lm_head|^model\\.embed_tokens$)"));
      assertThat(again).isEqualTo(widened);
    }
  }

  @Test
  void what_can_not_be_tied_is_refused_and_nothing_is_changed() {
    try (var model = TiedModel.tied()) {
      assertThatThrownBy(
              () ->
                  model.adapters.attach(
                      "one",
                      lora(Targets.named("embed_tokens"), true)
                          .rankPattern(Map.of("lm_head", 3))
                          .build(),
                      1))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "lm_head has rank 3 and factor 2.6666666666666665 but model.embed_tokens, to which"
                  + " ensure_weight_tying ties it, has 2 and 4.0; give both the same in"
                  + " rank_pattern and alpha_pattern");
      assertThatThrownBy(
              () ->
                  model.adapters.attach(
                      "one",
                      lora(Targets.named("embed_tokens"), true)
                          .variant(new LoraVariant.Dora())
                          .init(new LoraInit.Uniform())
                          .build(),
                      1))
          .isInstanceOf(UnsupportedAdapterException.class);
      assertThatThrownBy(
              () ->
                  model.adapters.attach(
                      "one",
                      lora(Targets.named("embed_tokens").except("lm_head"), true).build(),
                      1))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "ensure_weight_tying adapts all of [model.embed_tokens, lm_head], but exclude_modules"
                  + " has lm_head; exclude all of them or none");
      assertThat(model.adapters.names()).isEmpty();
      assertThat(model.tree.at(EMBEDDING).adapters().all()).isEmpty();
    }
  }

  @Test
  void rslora_is_tied_too_and_bfloat16_sides_share_float32_factors() {
    try (var model = TiedModel.of(ScalarType.BFloat16);
        var _ = new NoGradGuard()) {
      model.adapters.attach("one", lora(Targets.named("lm_head"), true).rslora(true).build(), 1);

      Tensor unmerged = model.logits();
      model.adapters.merge(true);

      assertThat(model.logits().allclose(unmerged, 0.05, 0.1, false)).isTrue();
      assertThat(model.shareOneWeight()).isTrue();
      assertThat(model.adapters.state("one", SaveEmbeddings.NO).values())
          .allMatch(t -> t.scalar_type().intern() == ScalarType.Float);
    }
  }

  // ---- the tables: tied, ensure, names; layers of one adapter, warnings

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "false | false | lm_head              | lm_head                      | ",
        "false | true  | lm_head              | lm_head                      | no layers of",
        "true  | false | embed_tokens         | model.embed_tokens           | share one weight",
        "true  | true  | embed_tokens         | model.embed_tokens,lm_head   | ",
        "true  | true  | lm_head              | model.embed_tokens,lm_head   | ",
        "false | false | embed_tokens,lm_head | model.embed_tokens,lm_head   | ",
        "false | true  | embed_tokens,lm_head | model.embed_tokens,lm_head   | no layers of",
        "true  | false | embed_tokens,lm_head | model.embed_tokens,lm_head   | share one weight",
        "true  | true  | embed_tokens,lm_head | model.embed_tokens,lm_head   | "
      })
  void the_tables_of_ties_hold(
      boolean tied, boolean ensure, String names, String layers, String warning) {
    boolean shared = tied && ensure;
    for (boolean whole : new boolean[] {true, false}) {
      try (var model = tied ? TiedModel.tied() : TiedModel.untied()) {
        String[] given = names.split(",");
        LoraConfig config = whole ? saving(ensure, given) : on(ensure, given);

        Attached attached = model.adapters.attach("one", config, 1);

        assertThat(whole ? attached.saved() : attached.modules())
            .containsExactlyInAnyOrder(layers.split(","));
        if (warning == null) {
          assertThat(attached.warnings()).isEmpty();
        } else {
          assertThat(attached.warnings()).hasSize(1);
          assertThat(attached.warnings().getFirst()).contains(warning);
        }
        long trained =
            model.adapters.parameters().keySet().stream()
                .filter(key -> key.contains(HEAD))
                .filter(key -> !key.endsWith(".bias"))
                .count();
        assertThat(trained > 0).isEqualTo(!shared && layers.contains(HEAD));
        assertThat(model.adapters.state("one", SaveEmbeddings.NO).keySet())
            .containsExactlyInAnyOrderElementsOf(keys(whole, layers));
      }
    }
  }

  /** What a file holds of these layers: both sides of a tie, whether or not they are one. */
  private static List<String> keys(boolean whole, String layers) {
    var keys = new ArrayList<String>();
    if (whole) {
      keys.add(PREFIX + "model.q_proj.lora_A.weight");
      keys.add(PREFIX + "model.q_proj.lora_B.weight");
    }
    for (String layer : layers.split(",", -1)) {
      boolean head = layer.equals(HEAD);
      if (whole) {
        keys.add(PREFIX + layer + ".weight");
        if (head) {
          keys.add(PREFIX + layer + ".bias");
        }
      } else {
        keys.add(PREFIX + layer + (head ? ".lora_A.weight" : ".lora_embedding_A"));
        keys.add(PREFIX + layer + (head ? ".lora_B.weight" : ".lora_embedding_B"));
      }
    }
    return keys;
  }

  @Test
  void nothing_that_is_tied_being_trained_is_worth_a_warning() {
    try (var model = TiedModel.tied()) {
      Attached attached = model.adapters.attach("one", lora(Targets.allLinear(), true).build(), 1);

      assertThat(attached.modules()).containsExactly("model.q_proj");
      assertThat(attached.warnings())
          .containsExactly(
              "ensure_weight_tying is set but none of [[model.embed_tokens, lm_head]] is trained,"
                  + " so there is nothing to tie");
    }
  }

  // ---- modules_to_save

  @Test
  void a_tied_copy_is_one_tensor_that_both_sides_train_save_and_merge() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied()) {
      Attached attached = model.adapters.attach("one", saving(true, "lm_head"), 1);
      assertThat(there(attached.config().targets().saved())).containsExactly(EMBEDDING);
      Tensor copy = there(model.adapters.parameters().get(PREFIX + EMBEDDING + ".weight"));
      try (var _ = new NoGradGuard()) {
        copy.add_(new Scalar(0.5));
      }

      model.loss().backward();
      double slope = slope(model, copy, 5);

      assertThat(new Tensor(copy.grad()).reshape(-1).get(5).item_double())
          .isCloseTo(slope, offset(1e-5));
      try (var _ = new NoGradGuard()) {
        Map<String, Tensor> state = copied(model.adapters.state("one"));
        Tensor head = there(state.get(PREFIX + HEAD + ".weight"));
        assertThat(head.equal(there(state.get(PREFIX + EMBEDDING + ".weight")))).isTrue();
        assertThat(state).containsKey(PREFIX + HEAD + ".bias");
        Tensor unmerged = model.logits();
        other.adapters.load("one", attached.config(), state, LoadOptions.defaults());
        assertThat(other.logits().equal(unmerged)).isTrue();

        model.adapters.mergeAndUnload(true);

        assertThat(near(model.logits(), unmerged)).isTrue();
        assertThat(model.shareOneWeight()).isTrue();
      }
    }
  }
}
