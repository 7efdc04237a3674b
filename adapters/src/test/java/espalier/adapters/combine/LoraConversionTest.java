package espalier.adapters.combine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.adapters.gralora.GraloraConfig;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

final class LoraConversionTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String UP = "model.layers.0.mlp.up_proj";
  private static final Targets LAYERS = Targets.named("q_proj", "up_proj");

  @RegisterExtension final NativeScope scope = NativeScope.withoutGradients();
  private final Tree model = Tree.decoder(1);
  private final Adapters adapters = Adapters.of(model, Tree.facts());

  @AfterEach
  void close() {
    model.close();
  }

  private void trained(AdapterConfig config) {
    adapters.attach("one", config, 3);
    fill();
  }

  private void fill() {
    var draw = new Tree.Draw(11);
    adapters
        .on("one")
        .values()
        .forEach(
            adapter ->
                adapter
                    .parameters()
                    .values()
                    .forEach(p -> p.copy_(draw.normal(p.shape()).mul(new Scalar(0.3)))));
  }

  private Tensor update(String name, String path) {
    return Tree.there(adapters.on(name).get(path)).deltaWeight();
  }

  private static Converted.Fit at(Converted lora, String path) {
    return Tree.there(lora.layers().get(path));
  }

  private void load(Converted lora) {
    adapters.load("lora", lora.config(), lora.tensors(), LoadOptions.defaults().withStrict(true));
  }

  @Test
  void a_rank_of_all_blocks_holds_the_update_of_gralora() {
    adapters.allowMixedMethods();
    trained(GraloraConfig.defaults().withRAndK(2, 2).withTargets(LAYERS));

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(4));

    load(lora);
    for (String path : List.of(Q, UP)) {
      assertThat(update("lora", path).allclose(update("one", path), 1e-5, 1e-5, false)).isTrue();
      assertThat(at(lora, path).rank()).isEqualTo(4);
      assertThat(at(lora, path).error()).isLessThan(1e-6);
    }
    assertThat(lora.config().scalingAt(Q)).isEqualTo(1);
  }

  @Test
  void the_error_is_what_the_best_approximation_of_the_rank_misses() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS)); // an update of full rank

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(3));

    Tensor s = Svd.of(update("one", Q)).s();
    double least = s.narrow(0, 3, s.size(0) - 3).norm().item_double() / s.norm().item_double();
    assertThat(at(lora, Q).error()).isBetween(least * 0.9999, least * 1.0001);
    assertThat(lora.warnings()).anyMatch(warning -> warning.contains("a higher rank misses less"));
  }

  @Test
  void a_higher_rank_misses_less() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));

    List<Double> errors =
        Stream.of(1, 2, 4, 8)
            .map(r -> LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(r)))
            .map(Converted::largestError)
            .toList();

    assertThat(errors).isSortedAccordingTo((a, b) -> Double.compare(b, a));
    assertThat(errors.getLast()).isLessThan(1e-5);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.3, 0.8, 0.99})
  void a_threshold_keeps_the_fewest_singular_values_that_reach_it(double threshold) {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Energy(threshold));

    for (String path : List.of(Q, UP)) {
      int k = at(lora, path).rank();
      Tensor energy = Svd.of(update("one", path)).s().square().to(ScalarType.Double);
      double all = energy.sum().item_double();
      assertThat(energy.narrow(0, 0, k).sum().item_double() / all).isGreaterThan(threshold - 1e-6);
      assertThat(energy.narrow(0, 0, k - 1).sum().item_double() / all).isLessThan(threshold);
      assertThat(lora.config().rankAt(path)).isEqualTo(k);
      assertThat(lora.config().scalingAt(path)).isEqualTo(1);
    }
  }

  @Test
  void a_threshold_finds_a_low_rank_in_a_large_matrix_without_all_of_its_values() {
    var draw = new Tree.Draw(5);
    Tensor matrix = draw.normal(300, 40).matmul(draw.normal(40, 400));

    Svd held = Svd.holding(matrix, 0.9);

    Tensor energy = Svd.of(matrix).s().square();
    Tensor part = energy.cumsum(0).div(energy.sum());
    assertThat(held.size()).isEqualTo(part.lt(new Scalar(0.9)).sum().item_long() + 1);
  }

  @Test
  void an_update_of_nothing_is_rank_one_without_an_error() {
    adapters.attach("one", HiraConfig.defaults().withR(2).withTargets(LAYERS), 3);

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Energy(0.9));

    assertThat(at(lora, Q)).isEqualTo(new Converted.Fit(1, 0));
  }

  @Test
  void what_a_start_took_out_of_the_base_is_in_the_conversion() {
    Tensor untouched = model.at(Q).weight().clone();
    trained(lora().init(new LoraInit.Pissa()).build());
    Tensor computed = model.at(Q).weight().add(update("one", Q));

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Energy(1));

    load(lora);
    Tensor again = untouched.add(update("lora", Q));
    assertThat(again.allclose(computed, 1e-5, 1e-5, false)).isTrue();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder().r(2).alpha(6).targets(LAYERS);
  }

  @Test
  void lora_itself_gets_another_rank_with_a_warning() {
    trained(lora().rslora(true).loraBias(true).targets(Targets.named("q_proj")).build());

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(2));

    load(lora);
    assertThat(update("lora", Q).allclose(update("one", Q), 1e-5, 1e-5, false)).isTrue();
    Tensor bias = Tree.there(Tree.there(adapters.on("lora").get(Q)).deltaBias());
    Tensor before = Tree.there(Tree.there(adapters.on("one").get(Q)).deltaBias());
    assertThat(bias.allclose(before, 1e-6, 1e-6, false)).isTrue();
    assertThat(lora.warnings())
        .containsExactly("one is LoRA already; converting it only changes its rank");
  }

  @Test
  void layers_that_are_trained_whole_are_carried_over() {
    adapters.allowMixedMethods();
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS.saving("norm")));
    Tensor weight = Tree.there(adapters.on("one").get("model.norm")).parameters().get("weight");

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(2));

    assertThat(Tree.there(lora.tensors().get("base_model.model.model.norm.weight")).equal(weight))
        .isTrue();
    assertThat(lora.config().targets().saved()).containsExactly("norm");
    load(lora);
  }

  @Test
  void an_adapter_in_bfloat16_becomes_one_in_bfloat16() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));
    adapters.on("one").values().forEach(adapter -> adapter.to(ScalarType.BFloat16));

    Converted lora = LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(8));

    assertThat(lora.tensors().values())
        .allMatch(tensor -> tensor.scalar_type().intern() == ScalarType.BFloat16);
    assertThat(lora.largestError()).isBetween(1e-5, 2e-2); // eight bits of each factor
  }

  @Test
  void the_source_and_the_base_stay_as_they_were() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));
    Tensor weight = model.at(Q).weight().clone();
    Tensor before = update("one", Q);

    LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(2));

    assertThat(model.at(Q).weight().equal(weight)).isTrue();
    assertThat(update("one", Q).equal(before)).isTrue();
    assertThat(adapters.names()).containsExactly("one");
  }

  @Test
  void a_rank_that_a_layer_can_not_have_is_refused_with_the_largest() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));

    assertThatThrownBy(() -> LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(9)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "rank is 9 but %s is [8, 8], which has 8 singular values; choose a rank of 8 or less,"
                + " or a threshold",
            Q);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, -0.5, 1.5, Double.NaN})
  void a_threshold_outside_of_0_to_1_is_refused(double threshold) {
    assertThatThrownBy(() -> new ConversionRank.Energy(threshold))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lies in (0, 1]");
  }

  @Test
  void a_rank_of_0_is_refused() {
    assertThatThrownBy(() -> new ConversionRank.Fixed(0)).isInstanceOf(ConfigException.class);
  }

  static List<Arguments> unconvertible() {
    var alora = new LoraVariant.Alora(List.of(1, 2));
    return List.of(
        Arguments.of(lora().variant(alora).build(), "has no update of a weight"),
        Arguments.of(lora().variant(new LoraVariant.Kasa(1e-4, 1e-3)).build(), "changes the base"),
        Arguments.of(lora().init(new LoraInit.Loftq(4, 1)).build(), "changes the base"),
        Arguments.of(lora().bias(BiasTraining.ADAPTED).build(), "trains biases of the base"),
        Arguments.of(
            lora().targets(Targets.named().withParameters(List.of("experts.down_proj"))).build(),
            "is on stacked parameters"));
  }

  @ParameterizedTest
  @MethodSource("unconvertible")
  void what_is_more_than_an_update_of_weights_is_refused(LoraConfig config, String why) {
    Tree experts = Tree.experts(1);
    Adapters all = Adapters.of(experts, Tree.facts());
    all.add("one", config, AttachOptions.seeded(3));

    assertThatThrownBy(() -> LoraConversion.convert(all, "one", new ConversionRank.Fixed(2)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("one (LORA) " + why);
    experts.close();
  }

  @Test
  void an_update_that_is_not_finite_is_refused_by_its_layer() {
    trained(HiraConfig.defaults().withR(2).withTargets(LAYERS));
    Map<String, Tensor> parameters = Tree.there(adapters.on("one").get(UP)).parameters();
    parameters.values().forEach(p -> p.fill_(new Scalar(Double.NaN)));

    assertThatThrownBy(
            () -> LoraConversion.convert(adapters, "one", new ConversionRank.Energy(0.5)))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith(UP);
  }
}
