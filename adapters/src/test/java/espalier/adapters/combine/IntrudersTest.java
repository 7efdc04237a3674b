package espalier.adapters.combine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.LayerKind;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.adapters.combine.IntruderOptions.Meaning;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Scope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

final class IntrudersTest {

  private static final IntruderOptions OPTIONS =
      IntruderOptions.defaults().withTopK(4).withEpsilon(0.95).withLambda(0.25, Meaning.KEPT);

  private final Scope scope = Scope.open();
  private final NoGradGuard noGradients = new NoGradGuard();

  @AfterEach
  void close() {
    noGradients.close();
    scope.close();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named("layer"));
  }

  private static Adapters on(Adaptable layer, LoraConfigBuilder config) {
    Adapters adapters = Tree.adapters(layer);
    adapters.attach("default", config.build(), 3);
    return adapters;
  }

  private static Adapter adapter(Adapters adapters, String name) {
    return Tree.there(adapters.on(name).get("layer"));
  }

  /** The matrix [out, in] of an update or a weight. */
  private static Tensor logical(Adaptable layer, Tensor weight) {
    Tensor exact = weight.to(ScalarType.Double);
    return layer instanceof Embedding ? exact.t() : exact;
  }

  /** The new update in float64 and by loops, as the paper says it. */
  private static Tensor expected(Tensor base, Tensor update, IntruderOptions options, int r) {
    Svd before = Svd.of(base);
    Svd after = Svd.of(base.add(update));
    Tensor wanted = update.clone();
    for (int i = 0; i < Math.min(options.topK(), after.size()); i++) {
      Tensor u = after.u().select(1, i);
      double cosine = 0;
      for (int j = 0; j < before.size(); j++) {
        cosine = Math.max(cosine, Math.abs(u.dot(before.u().select(1, j)).item_double()));
      }
      if (cosine < options.epsilon()) {
        double sigma = after.s().select(0, i).item_double();
        Tensor v = after.vt().select(0, i);
        wanted.sub_(u.outer(v), new Scalar((1 - options.lambda()) * sigma));
      }
    }
    Svd best = Svd.of(wanted).first(r);
    return best.us().matmul(best.vt());
  }

  @ParameterizedTest
  @EnumSource(
      mode = Mode.EXCLUDE,
      names = {"CONVOLUTION_1D", "CONVOLUTION_2D", "CONVOLUTION_3D"})
  void a_part_of_each_intruder_is_taken_out_of_the_update(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = on(layer, lora());
    Tensor base = logical(layer, layer.weight());
    Tensor update = logical(layer, adapter(adapters, "default").deltaWeight());

    IntruderReport report = Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    Tensor got = logical(layer, adapter(adapters, "reduced").deltaWeight());
    Tensor want = expected(base, update, OPTIONS, 2);
    assertThat(report.intruders().get("layer")).isBetween(1, 4);
    assertThat(got.allclose(want, 1e-5, 1e-5, false)).isTrue();
    assertThat(got.allclose(update, 1e-2, 1e-2, false)).isFalse();
    assertThat(adapters.active()).containsExactly("reduced");
  }

  @Test
  void both_factors_get_the_same_share_of_the_singular_values() {
    Adapters adapters = on(LayerKind.LINEAR.layer(ScalarType.Float), lora());

    Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    var state = adapter(adapters, "reduced").state();
    Tensor a = Tree.there(state.get("lora_A.weight"));
    Tensor b = Tree.there(state.get("lora_B.weight"));
    Tensor rows = a.matmul(a.t());
    assertThat(rows.allclose(b.t().matmul(b), 1e-4, 1e-4, false)).isTrue();
  }

  @Test
  void without_intruders_the_factors_are_copied_bit_for_bit() {
    Adapters adapters = on(LayerKind.LINEAR.layer(ScalarType.Float), lora());

    IntruderReport report =
        Intruders.reduce(adapters, "default", "reduced", OPTIONS.withEpsilon(0));

    assertThat(report.intruders()).containsEntry("layer", 0);
    adapter(adapters, "default")
        .state()
        .forEach(
            (name, tensor) ->
                assertThat(Tree.there(adapter(adapters, "reduced").state().get(name)).equal(tensor))
                    .isTrue());
  }

  @Test
  void the_part_that_is_kept_and_the_part_that_is_removed_are_two_ways_to_say_it() {
    Adapters adapters = on(LayerKind.LINEAR.layer(ScalarType.Float), lora());

    Intruders.reduce(adapters, "default", "kept", OPTIONS.withLambda(0.3, Meaning.KEPT));
    Intruders.reduce(adapters, "default", "removed", OPTIONS.withLambda(0.7, Meaning.REMOVED));

    Tensor kept = adapter(adapters, "kept").deltaWeight();
    assertThat(adapter(adapters, "removed").deltaWeight().allclose(kept, 1e-5, 1e-6, false))
        .isTrue();
  }

  @Test
  void in_bfloat16_it_is_computed_in_float32_and_rounded_once() {
    Adaptable half = LayerKind.LINEAR.layer(ScalarType.BFloat16);
    Adapters adapters = on(half, lora());
    adapter(adapters, "default").to(ScalarType.BFloat16);
    Tensor base = logical(half, half.weight());
    Tensor update = logical(half, adapter(adapters, "default").deltaWeight());

    Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    Adapter reduced = adapter(adapters, "reduced");
    Tensor want = expected(base, update, OPTIONS, 2);
    double gap = logical(half, reduced.deltaWeight()).sub(want).norm().item_double();
    assertThat(reduced.dtype()).isEqualTo(ScalarType.BFloat16);
    assertThat(gap / want.norm().item_double()).isBetween(1e-6, 1e-2);
  }

  @Test
  void a_convolution_and_dora_are_copied_with_a_warning() {
    Adapters convolution = on(LayerKind.CONVOLUTION_2D.layer(ScalarType.Float), lora());
    Adapters dora =
        on(LayerKind.LINEAR.layer(ScalarType.Float), lora().variant(new LoraVariant.Dora()));

    for (Adapters adapters : new Adapters[] {convolution, dora}) {
      IntruderReport report = Intruders.reduce(adapters, "default", "reduced", OPTIONS);

      assertThat(report.warnings()).anyMatch(warning -> warning.startsWith("layer was copied"));
      assertThat(report.intruders()).isEmpty();
      Tensor before = adapter(adapters, "default").deltaWeight();
      assertThat(adapter(adapters, "reduced").deltaWeight().equal(before)).isTrue();
    }
  }

  @Test
  void the_base_and_the_source_stay_as_they_were() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = on(layer, lora());
    Tensor weight = layer.weight().clone();
    Tensor update = adapter(adapters, "default").deltaWeight();

    Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    assertThat(layer.weight().equal(weight)).isTrue();
    assertThat(adapter(adapters, "default").deltaWeight().equal(update)).isTrue();
    assertThat(((LoraConfig) adapters.config("reduced")).init()).isEqualTo(new LoraInit.Uniform());
    assertThat(adapters.config("default")).isNotEqualTo(adapters.config("reduced"));
  }

  @Test
  void the_factor_at_run_time_goes_over_and_not_into_the_factors() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = on(layer, lora());
    adapter(adapters, "default").scale(0.5);
    Tensor update = logical(layer, adapter(adapters, "default").deltaWeight());

    Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    Tensor want = expected(logical(layer, layer.weight()), update, OPTIONS, 2);
    Tensor got = logical(layer, adapter(adapters, "reduced").deltaWeight());
    assertThat(adapter(adapters, "reduced").scale()).isEqualTo(0.5);
    assertThat(got.allclose(want, 1e-5, 1e-5, false)).isTrue();
  }

  @Test
  void a_model_in_training_stays_in_training() {
    Adapters adapters = on(LayerKind.LINEAR.layer(ScalarType.Float), lora());
    adapters.model().train(true);

    Intruders.reduce(adapters, "default", "reduced", OPTIONS);

    assertThat(adapters.model().training()).isTrue();
    assertThat(adapter(adapters, "reduced").training()).isTrue();
  }

  @Test
  void what_is_not_lora_over_an_untouched_base_is_refused() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters pissa = on(layer, lora().init(new LoraInit.Pissa()));
    Adapters hira =
        Adapters.of(
            Tree.empty().with("layer", LayerKind.LINEAR.layer(ScalarType.Float)),
            ModelFacts.of("llama"));
    hira.attach("default", HiraConfig.defaults().withR(2).withTargets(Targets.named("layer")), 1);

    assertThatThrownBy(() -> Intruders.reduce(pissa, "default", "reduced", OPTIONS))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("call restoreBase first");
    assertThatThrownBy(() -> Intruders.reduce(hira, "default", "reduced", OPTIONS))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("default is HIRA");
    assertThatThrownBy(() -> Intruders.reduce(pissa, "default", "default", OPTIONS))
        .isInstanceOf(AdapterException.class);
    assertThat(pissa.names()).containsExactly("default");
  }
}
