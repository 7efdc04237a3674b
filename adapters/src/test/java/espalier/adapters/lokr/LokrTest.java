package espalier.adapters.lokr;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.kron;

import espalier.adapters.Gradients;
import espalier.adapters.LayerKind;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lycoris.LycorisSettings;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Init;
import espalier.nn.Linear;
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
import org.junit.jupiter.params.provider.EnumSource;

class LokrTest {

  private static final LokrConfig SMALL =
      LokrConfig.defaults()
          .withSettings(LycorisSettings.defaults().withRank(1, 2))
          .withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Adapter trained(Adaptable layer, LokrConfig config) {
    Adapter lokr = config.create(layer, "layer", Init.shared(1));
    var more = new Tree.Draw(9);
    try (var _ = new NoGradGuard()) {
      lokr.parameters().values().forEach(p -> p.copy_(more.normal(p.shape())));
    }
    return lokr;
  }

  @ParameterizedTest
  @CsvSource({"12, -1, 3, 4", "7, -1, 1, 7", "16, -1, 4, 4", "12, 6, 6, 2", "12, 5, 3, 4"})
  void a_width_is_divided_as_evenly_as_the_limit_allows(
      long width, int limit, long small, long large) {
    assertThat(Factorization.of(width, limit)).isEqualTo(new Factorization(small, large));
  }

  @Test
  void the_product_that_is_not_formed_has_all_the_gradients_of_its_formula() {
    Tensor left = Gradients.leaf(draw, 2, 3);
    Tensor right = Gradients.leaf(draw, 5, 4);
    Tensor la = Gradients.leaf(draw, 2, 1);
    Tensor lb = Gradients.leaf(draw, 1, 3);
    Tensor ra = Gradients.leaf(draw, 5, 2);
    Tensor rb = Gradients.leaf(draw, 2, 4);
    var s = new Scalar(0.7);

    Gradients.assertSame(
        10,
        12,
        7,
        List.of(left, right),
        new KroneckerBranch(0.7, false, false),
        f -> kron(f.get(0), f.get(1)).mul(s));
    Gradients.assertSame(
        10,
        12,
        1,
        List.of(la, lb, ra, rb),
        new KroneckerBranch(0.7, true, true),
        f -> kron(f.get(0).mm(f.get(1)), f.get(2).mm(f.get(3))).mul(s));
  }

  @Test
  void a_factor_is_split_where_its_rank_is_below_half_of_its_longer_side() {
    var layer = new Linear(draw.normal(12, 12), null); // 3 · 4 each

    assertThat(trained(layer, SMALL).state()).containsOnlyKeys("lokr_w1", "lokr_w2_a", "lokr_w2_b");
    assertThat(trained(layer, SMALL.withDecomposition(true, -1)).state())
        .containsOnlyKeys("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b");
    assertThat(
            trained(layer, SMALL.withSettings(LycorisSettings.defaults().withRank(2, 2))).state())
        .containsOnlyKeys("lokr_w1", "lokr_w2");
  }

  @Test
  void a_core_tensor_stands_for_the_places_of_a_kernel() {
    Adaptable layer = LayerKind.CONVOLUTION_2D.layer(ScalarType.Float);
    LokrConfig config =
        SMALL.withSettings(SMALL.settings().withEffectiveConv2d(true)).withDecomposition(false, 1);
    Tensor x = LayerKind.CONVOLUTION_2D.input(ScalarType.Float);
    Adapter fresh = config.create(layer, "layer", Init.shared(1));
    Adapter lokr = trained(layer, config);

    Tensor expected = layer.base(x, layer.weight().add(lokr.deltaWeight()), layer.bias());

    assertThat(lokr.state()).containsKey("lokr_t2");
    assertThat(fresh.first(x).equal(layer.base(x))).isTrue();
    assertThat(gap(lokr.first(x), expected) / expected.abs().max().item_double()).isLessThan(1e-6);
  }

  @Test
  void a_whole_kernel_of_one_dimension_is_multiplied_as_the_files_of_the_reference_mean() {
    Tensor w = draw.normal(6, 4, 2);
    var geometry =
        new Convolution.Geometry(new long[] {1}, new long[] {0}, new long[] {1}, 1, "zeros");
    var layer = new Convolution(w, null, geometry);
    LokrConfig config = SMALL.withSettings(LycorisSettings.defaults().withRank(4, 4));

    Adapter lokr = trained(layer, config);

    Tensor left = there(lokr.state().get("lokr_w1")); // [2, 2]
    Tensor right = there(lokr.state().get("lokr_w2")); // [3, 2, 2]
    Tensor product = kron(left.unsqueeze(0), right); // [3, 4, 4]
    assertThat(lokr.deltaWeight().equal(product.reshape(6, 4, 2))).isTrue();
  }

  @ParameterizedTest
  @EnumSource(LokrInit.class)
  void a_new_adapter_changes_the_output_only_where_all_factors_are_drawn(LokrInit init) {
    var layer = new Linear(draw.normal(12, 12), null);
    Tensor x = draw.normal(3, 12);

    Tensor y = SMALL.withInit(init).create(layer, "layer", Init.shared(1)).first(x);

    assertThat(y.equal(layer.base(x))).isEqualTo(init != LokrInit.DRAWN);
  }

  @ParameterizedTest
  @EnumSource(LokrInit.class)
  void every_field_survives_the_way_to_the_file_and_back(LokrInit init) {
    var settings =
        SMALL.settings().withDropout(0.25, 0.5).withPatterns(Map.of("a", 3), Map.of("b", 1.5));
    LokrConfig config =
        SMALL
            .withSettings(settings)
            .withDecomposition(true, 4)
            .withRankDropoutScale(true)
            .withInit(init);
    AdapterCatalog catalog = AdapterCatalog.standard();

    var read = (LokrConfig) catalog.read(catalog.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }
}
