package espalier.adapters.gralora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import espalier.nn.Rows;
import espalier.nn.TransposedLinear;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GraloraTest {

  /** Random in A and in B; in 18, out 24 can be cut in 2, 3 and 6. */
  private static final GraloraConfig RANDOM =
      GraloraConfig.defaults()
          .withRAndK(6, 3)
          .withAlpha(12)
          .withNeutral(false)
          .withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Linear linear() {
    return new Linear(draw.normal(24, 18), draw.normal(24));
  }

  private static GraloraLinear on(Linear layer, GraloraConfig config) {
    return (GraloraLinear) config.create(layer, "layer", Init.shared(1));
  }

  private static Adapters adapters(Linear layer) {
    return Tree.adapters(layer);
  }

  @Test
  void one_block_is_lora_with_alpha_over_r() {
    Linear layer = linear();
    GraloraLinear gralora = on(layer, RANDOM.withRAndK(6, 1));
    Adapter lora = LoraConfig.builder().r(6).alpha(12).build().create(layer, "layer", Init.blank());
    lora.load(
        Map.of(
            "lora_A.weight", there(gralora.state().get("gralora_A")).select(0, 0).t(),
            "lora_B.weight", there(gralora.state().get("gralora_B")).select(0, 0).t()));
    Tensor x = draw.normal(5, 18);

    assertThat(gralora.scaling()).isEqualTo(2);
    assertThat(gap(gralora.deltaWeight(), lora.deltaWeight())).isLessThan(1e-6);
    assertThat(gap(gralora.first(x), lora.first(x))).isLessThan(1e-5);
  }

  @Test
  void the_general_part_is_a_lora_beside_the_blocks_under_the_same_scaling() {
    Linear layer = linear();
    GraloraLinear gralora = on(layer, RANDOM.withHybridR(2));
    Map<String, Tensor> state = gralora.state();
    Tensor x = draw.normal(5, 18);
    Tensor general =
        there(state.get("gralora_B_general.weight"))
            .mm(there(state.get("gralora_A_general.weight")));
    Tensor blocks = draw.normal(24, 18);
    new BlockGrid(there(state.get("gralora_A")), there(state.get("gralora_B"))).matrix(1, blocks);

    assertThat(gralora.scaling()).isEqualTo(1.5);
    assertThat(gap(gralora.deltaWeight(), blocks.add(general).mul(new Scalar(1.5))))
        .isLessThan(1e-6);
    assertThat(gap(gralora.first(x), layer.base(x).add(x.mm(gralora.deltaWeight().t()))))
        .isLessThan(1e-5);
    assertThat(linalg_matrix_rank(gralora.deltaWeight()).item_long()).isEqualTo(18);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 6})
  void the_number_of_parameters_does_not_know_the_number_of_blocks(int k) {
    Adapter gralora = on(linear(), RANDOM.withRAndK(6, k).withHybridR(2));

    assertThat(gralora.parameters().values().stream().mapToLong(Tensor::numel).sum())
        .isEqualTo((6 + 2) * (18 + 24));
  }

  @Test
  void the_default_has_as_many_parameters_as_published() {
    var layer = new Linear(draw.normal(3072, 768), null);

    Adapter gralora = GraloraConfig.defaults().create(layer, "fc1", Init.blank());

    assertThat(gralora.parameters().values().stream().mapToLong(Tensor::numel).sum())
        .isEqualTo(122_880);
  }

  @Test
  void a_block_starts_as_wide_as_its_own_inputs_ask_for() {
    var layer = new Linear(draw.normal(40, 400), null);
    GraloraConfig config =
        GraloraConfig.defaults().withRAndK(8, 4).withHybridR(8).withTargets(Targets.named("layer"));
    Map<String, Tensor> state = on(layer, config).state();

    assertThat(there(state.get("gralora_A")).abs().max().item_double()).isBetween(0.098, 0.1);
    assertThat(there(state.get("gralora_A_general.weight")).abs().max().item_double())
        .isBetween(0.049, 0.05);
    assertThat(there(state.get("gralora_B")).abs().max().item_double()).isZero();
    assertThat(there(state.get("gralora_B_general.weight")).abs().max().item_double()).isZero();
  }

  @Test
  void blocks_and_general_part_drop_features_by_masks_of_their_own() {
    Linear layer = linear();
    GraloraLinear gralora = on(layer, RANDOM.withHybridR(2).withDropout(0.5));
    Map<String, Tensor> state = gralora.state();
    gralora.trainable(true);
    gralora.train(true);
    Tensor x = draw.normal(7, 18).set_requires_grad(true);

    RandomState.seed(9);
    Tensor ours = gralora.first(x);
    ours.pow(new Scalar(2)).sum().backward();
    Tensor dx = x.grad().clone();
    x.mutable_grad().zero_();
    RandomState.seed(9);
    Tensor first = dropout(x, 0.5, true);
    Tensor second = dropout(x, 0.5, true);
    Tensor blocks = draw.normal(24, 18);
    Tensor general;
    try (var _ = new NoGradGuard()) {
      new BlockGrid(there(state.get("gralora_A")), there(state.get("gralora_B")))
          .matrix(1.5, blocks);
      general =
          there(state.get("gralora_B_general.weight"))
              .mm(there(state.get("gralora_A_general.weight")))
              .mul(new Scalar(1.5));
    }
    Tensor plain = layer.base(x).add(first.mm(blocks.t())).add(second.mm(general.t()));
    plain.pow(new Scalar(2)).sum().backward();

    assertThat(first.equal(second)).isFalse();
    assertThat(gap(ours, plain)).isLessThan(1e-4);
    assertThat(gap(dx, x.grad()) / x.grad().abs().max().item_double()).isLessThan(1e-5);
    gralora.train(false);
    assertThat(gap(gralora.first(x), layer.base(x).add(x.mm(gralora.deltaWeight().t()))))
        .isLessThan(1e-4);
  }

  @Test
  void an_input_of_any_rank_is_a_table_of_rows() {
    Linear layer = linear();
    GraloraLinear gralora = on(layer, RANDOM.withHybridR(2));
    Tensor x = draw.normal(2, 3, 4, 18);
    Tensor rows = gralora.first(x.view(24, 18));

    assertThat(gap(gralora.first(x).view(24, 24), rows)).isLessThan(1e-5);
    assertThat(gap(gralora.forward(x, layer.base(x)).view(24, 24), rows)).isLessThan(1e-5);
    Tensor one = x.view(24, 18).select(0, 5);
    assertThat(gralora.first(one).dim()).isEqualTo(1);
    assertThat(gap(gralora.first(one), rows.select(0, 5))).isLessThan(1e-5);
  }

  @Test
  void what_it_is_added_to_stays_as_it_was() {
    Linear layer = linear();
    GraloraLinear gralora = on(layer, RANDOM.withHybridR(2));
    Tensor x = draw.normal(5, 18);
    Tensor y = layer.base(x);
    Tensor before = y.clone();

    Tensor sum = gralora.forward(x, y);

    assertThat(y.equal(before)).isTrue();
    assertThat(gap(sum, y)).isGreaterThan(0.1);
  }

  @Test
  void a_bias_that_trains_along_gets_its_gradient() {
    Linear layer = linear();
    Adapters adapters = adapters(layer);
    adapters.attach("one", RANDOM.withBias(BiasTraining.ADAPTED), 1);
    Tensor x = draw.normal(5, 18);
    Tensor g = draw.normal(5, 24);

    layer.forward(x).mul(g).sum().backward();

    assertThat(adapters.state("one")).containsKey("base_model.model.layer.base_layer.bias");
    assertThat(gap(there(layer.bias()).grad(), g.sum(0))).isLessThan(1e-5);
  }

  @Test
  void adapters_of_different_grids_add_up_and_share_a_batch() {
    Linear layer = linear();
    Adapters adapters = adapters(layer);
    adapters.attach("threes", RANDOM, 1);
    adapters.add("twos", RANDOM.withRAndK(4, 2).withHybridR(3), AttachOptions.seeded(2));
    Tensor x = draw.normal(3, 5, 18);
    Tensor base = layer.base(x);
    Tensor three = layer.forward(x);
    adapters.setActive(List.of("twos"));
    Tensor two = layer.forward(x);

    adapters.setActive(List.of("threes", "twos"));
    Tensor both = layer.forward(x);
    Tensor mixed = adapters.mixed(List.of("twos", Rows.BASE, "threes"), 3, () -> layer.forward(x));

    assertThat(gap(both, three.add(two).sub(base))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 0), two.select(0, 0))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 1), base.select(0, 1))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 2), three.select(0, 2))).isLessThan(1e-5);
  }

  @Test
  void merging_keeps_the_way_a_weight_is_stored_and_unmerging_brings_back_every_bit() {
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      var layer = new TransposedLinear(draw.normal(18, 24).to(dtype), null);
      Adapters adapters = adapters(layer);
      adapters.attach("one", RANDOM.withHybridR(2), 1);
      Tensor before = layer.storedWeight().clone();
      Tensor delta = there(adapters.on("one").get("layer")).deltaWeight();

      adapters.merge(true);
      boolean contiguous = layer.storedWeight().is_contiguous();
      Tensor expected = before.to(ScalarType.Float).add(delta.t()).to(dtype);
      boolean rounded = layer.storedWeight().equal(expected);
      adapters.unmerge();

      assertThat(contiguous).isTrue();
      assertThat(rounded).isTrue();
      assertThat(layer.storedWeight().equal(before)).isTrue();
    }
  }

  @Test
  void gradients_beside_a_base_in_half_precision_are_near_to_those_in_float64() {
    var half = new Linear(draw.normal(24, 18).to(ScalarType.BFloat16), null);
    var full = new Linear(half.weight().to(ScalarType.Double), null);
    for (long tokens : new long[] {3, 40}) { // few rows are not widened
      GraloraLinear ours = on(half, RANDOM.withHybridR(2));
      GraloraLinear wide = on(full, RANDOM.withHybridR(2));
      wide.to(ScalarType.Double);
      ours.trainable(true);
      wide.trainable(true);
      Tensor x = draw.normal(tokens, 18).to(ScalarType.BFloat16).set_requires_grad(true);
      Tensor xx = x.detach().to(ScalarType.Double).set_requires_grad(true);

      Tensor y = ours.first(x);
      y.to(ScalarType.Double).pow(new Scalar(2)).sum().backward();
      wide.first(xx).pow(new Scalar(2)).sum().backward();

      assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      assertNear(x.grad(), xx.grad());
      ours.parameters()
          .forEach((name, p) -> assertNear(p.grad(), there(wide.parameters().get(name)).grad()));
    }
  }

  private static void assertNear(Tensor ours, Tensor expected) {
    double largest = expected.abs().max().item_double();
    assertThat(gap(ours.to(ScalarType.Double), expected) / largest).isLessThan(2e-2);
  }

  @Test
  void a_layer_that_can_not_be_cut_is_refused_with_the_numbers_that_would_do() {
    var layer = new Linear(draw.normal(8, 12), null);

    assertThatThrownBy(() -> on(layer, RANDOM.withRAndK(5, 5)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer is [8, 12] but gralora_k 5 needs both divisible by 5; use one of 1, 2, 4, or"
                + " leave the layer out");
    assertThatThrownBy(() -> on(layer, RANDOM.withRAndK(3, 3)))
        .hasMessageStartingWith("layer is [8, 12] but gralora_k 3 needs both divisible by 3");
  }

  @Test
  void what_it_does_not_adapt_is_refused_by_kind_and_path() {
    var embedding = new Embedding(draw.normal(10, 8));

    assertThatThrownBy(() -> RANDOM.create(embedding, "model.embed_tokens", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "model.embed_tokens is a Embedding but GraLoRA adapts Linear and Conv1D; take it out of"
                + " target_modules");
  }

  @Test
  void the_rank_may_go_by_path() {
    GraloraLinear gralora = on(linear(), RANDOM.withRankPattern(Map.of("layer", 12)));

    assertThat(there(gralora.state().get("gralora_A")).size(2)).isEqualTo(12);
    assertThat(gralora.scaling()).isEqualTo(1);
  }
}
