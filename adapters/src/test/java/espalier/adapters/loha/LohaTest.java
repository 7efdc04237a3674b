package espalier.adapters.loha;

import static espalier.adapters.Tree.gap;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.ConfigException;
import espalier.adapters.Gradients;
import espalier.adapters.LayerKind;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lycoris.LycorisSettings;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class LohaTest {

  private static final LohaConfig SMALL =
      LohaConfig.defaults()
          .withSettings(LycorisSettings.defaults().withRank(3, 6))
          .withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Adapter trained(Adaptable layer, LohaConfig config) {
    Adapter loha = config.create(layer, "layer", Init.shared(1));
    var more = new Tree.Draw(9);
    try (var _ = new NoGradGuard()) {
      loha.parameters().values().forEach(p -> p.copy_(more.normal(p.shape())));
    }
    return loha;
  }

  private Linear linear() {
    return new Linear(draw.normal(10, 8), draw.normal(10));
  }

  @Test
  void the_formed_product_has_all_the_gradients_of_its_formula() {
    List<Tensor> factors =
        List.of(
            Gradients.leaf(draw, 10, 3),
            Gradients.leaf(draw, 3, 8),
            Gradients.leaf(draw, 10, 3),
            Gradients.leaf(draw, 3, 8));

    Gradients.assertSame(
        10,
        8,
        7,
        factors,
        new HadamardBranch(0.7),
        f -> f.get(0).mm(f.get(1)).mul(f.get(2).mm(f.get(3))).mul(new Scalar(0.7)));
  }

  @Test
  void the_update_is_the_hadamard_product_of_two_low_rank_matrices() {
    Adapter loha = trained(linear(), SMALL);
    Map<String, Tensor> state = loha.state();

    Tensor one = Tree.there(state.get("hada_w1_a")).mm(Tree.there(state.get("hada_w1_b")));
    Tensor two = Tree.there(state.get("hada_w2_a")).mm(Tree.there(state.get("hada_w2_b")));

    assertThat(gap(loha.deltaWeight(), one.mul(two).mul(new Scalar(2)))).isLessThan(1e-4);
  }

  @Test
  void narrow_and_wide_layers_compute_the_same_function() {
    var layer = new Linear(draw.normal(40, 36), null);
    Adapter narrow = trained(layer, SMALL); // 9 products a feature
    Adapter wide = trained(layer, SMALL.withSettings(SMALL.settings().withRank(8, 8)));
    Tensor x = draw.normal(2, 3, 36);

    for (Adapter loha : List.of(narrow, wide)) {
      Tensor expected = layer.base(x).add(x.matmul(loha.deltaWeight().t()));
      assertThat(gap(loha.first(x), expected) / expected.abs().max().item_double())
          .isLessThan(1e-6);
    }
  }

  @Test
  void a_core_tensor_stands_for_the_places_of_a_kernel() {
    Adaptable layer = LayerKind.CONVOLUTION_2D.layer(ScalarType.Float);
    LohaConfig config = SMALL.withSettings(SMALL.settings().withEffectiveConv2d(true));
    Tensor x = LayerKind.CONVOLUTION_2D.input(ScalarType.Float);
    Adapter fresh = config.create(layer, "layer", Init.shared(1));
    Adapter loha = trained(layer, config);

    Tensor expected = layer.base(x, layer.weight().add(loha.deltaWeight()), layer.bias());

    assertThat(loha.state()).containsKeys("hada_t1", "hada_t2");
    assertThat(fresh.first(x).equal(layer.base(x))).isTrue();
    assertThat(gap(loha.first(x), expected) / expected.abs().max().item_double()).isLessThan(1e-6);
    assertThat(gap(loha.forward(x, layer.base(x)), expected) / expected.abs().max().item_double())
        .isLessThan(1e-6);
  }

  @Test
  void rank_dropout_takes_output_features_away_and_raises_the_others() {
    Linear layer = linear();
    Adapter loha = trained(layer, SMALL.withSettings(SMALL.settings().withDropout(0.5, 0)));
    Tensor x = draw.normal(4, 8);
    Tensor branch = x.matmul(loha.deltaWeight().t());

    loha.train(true);
    RandomState.seed(3);
    Tensor ours = loha.first(x);
    RandomState.seed(3);
    Tensor stays = torch.rand(new long[] {10}).gt(new Scalar(0.5)).to(ScalarType.Float);
    Tensor expected = layer.base(x).add(branch.mul(stays.div(stays.mean())));

    assertThat(stays.sum().item_double()).isBetween(1.0, 9.0);
    assertThat(gap(ours, expected) / expected.abs().max().item_double()).isLessThan(1e-6);
  }

  @Test
  void module_dropout_leaves_a_whole_branch_out_now_and_then() {
    Linear layer = linear();
    Adapter loha = trained(layer, SMALL.withSettings(SMALL.settings().withDropout(0, 0.5)));
    Tensor x = draw.normal(4, 8);
    Tensor with = loha.first(x);
    Tensor without = layer.base(x);

    loha.train(true);
    RandomState.seed(3);
    int left = 0;
    for (int i = 0; i < 40; i++) {
      Tensor y = loha.first(x);
      boolean bare = y.equal(without);
      assertThat(bare || gap(y, with) < 1e-3).isTrue();
      left += bare ? 1 : 0;
    }

    assertThat(left).isBetween(8, 32);
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    var settings =
        SMALL
            .settings()
            .withDropout(0.25, 0.5)
            .withEffectiveConv2d(true)
            .withPatterns(Map.of("a", 3), Map.of("b", 1.5));
    LohaConfig config = SMALL.withSettings(settings).withInitWeights(false);
    AdapterCatalog catalog = AdapterCatalog.standard();

    var read = (LohaConfig) catalog.read(catalog.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
    assertThat(config.settings().scalingAt("x.a")).isEqualTo(2);
    assertThat(config.settings().scalingAt("x.b")).isEqualTo(0.5);
  }

  @Test
  void numbers_out_of_range_are_refused_all_at_once() {
    var settings = LycorisSettings.defaults().withRank(0, Double.NaN).withDropout(1.5, -1);

    assertThatThrownBy(() -> SMALL.withSettings(settings))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "r is 0 but a rank is 1 or more; 8 is the method's default; alpha is NaN but a finite"
                + " number is needed; 8 is the method's default; rank_dropout is 1.5 but must lie"
                + " in [0, 1]; 0 turns it off; module_dropout is -1.0 but must lie in [0, 1]; 0"
                + " turns it off");
  }

  @Test
  void what_it_does_not_adapt_is_refused_by_kind_and_path() {
    Adaptable cube = LayerKind.CONVOLUTION_3D.layer(ScalarType.Float);

    assertThatThrownBy(() -> SMALL.create(cube, "cube", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "cube is a Conv3d but LoHa adapts Linear, Conv1D, Conv1d and Conv2d; take it out of"
                + " target_modules");
  }
}
