package espalier.adapters.abba;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;
import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.BranchProduct;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import espalier.nn.TransposedLinear;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AbbaTest {

  private static final AbbaConfig SMALL =
      AbbaConfig.defaults().withRanks(3, 2).withAlphas(4, 9).withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Tensor leaf(long... shape) {
    return draw.normal(shape).to(ScalarType.Double).set_requires_grad(true);
  }

  private static void assertClose(Tensor ours, Tensor expected) {
    assertThat(gap(ours, expected) / Math.max(1, expected.abs().max().item_double()))
        .isLessThan(1e-13);
  }

  private static AbbaLinear on(Linear layer, AbbaConfig config) {
    return (AbbaLinear) config.create(layer, "layer", Init.shared(1));
  }

  private static AbbaLinear trained(Linear layer, AbbaConfig config) {
    AbbaLinear abba = on(layer, config);
    var more = new Tree.Draw(9);
    try (var _ = new NoGradGuard()) {
      abba.parameters().values().forEach(p -> p.copy_(more.normal(p.size(0), p.size(1))));
    }
    return abba;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7})
  void the_node_is_the_dense_formula_with_all_its_gradients(int tokens) {
    var layer =
        new Linear(draw.normal(10, 8).to(ScalarType.Double), draw.normal(10).to(ScalarType.Double));
    Tensor x = leaf(tokens, 8);
    List<Tensor> factors = List.of(leaf(10, 3), leaf(3, 8), leaf(10, 2), leaf(2, 8));
    List<Tensor> leaves =
        List.of(x, factors.get(0), factors.get(1), factors.get(2), factors.get(3));
    Tensor g = draw.normal(tokens, 10).to(ScalarType.Double);

    Tensor ours = BranchProduct.whole(layer, x, factors, new KhatriRao(0.7));
    ours.mul(g).sum().backward();
    List<Tensor> own = leaves.stream().map(l -> l.grad().clone()).toList();
    leaves.forEach(l -> l.mutable_grad().zero_());
    Tensor one = factors.get(0).matmul(factors.get(1));
    Tensor two = factors.get(2).matmul(factors.get(3));
    Tensor delta = one.mul(two).mul(new Scalar(0.7));
    Tensor expected = layer.base(x).add(x.matmul(delta.t()));
    expected.mul(g).sum().backward();

    assertClose(ours, expected);
    for (int i = 0; i < own.size(); i++) {
      assertClose(own.get(i), leaves.get(i).grad());
    }
  }

  @Test
  void it_starts_from_the_best_approximation_of_the_weight_and_changes_nothing() {
    var layer = new TransposedLinear(draw.normal(8, 10), draw.normal(10));
    Map<String, Tensor> state = on(layer, SMALL).state();
    Tensor x = draw.normal(5, 8);

    Tensor first = there(state.get("abba_B1")).mm(there(state.get("abba_A1")));
    Tensor values = linalg_svdvals(layer.weight());
    double best = values.narrow(0, 3, 5).norm().item_double(); // what rank 3 must leave
    double left = layer.weight().sub(first).norm().item_double();

    assertThat(left).isCloseTo(best, org.assertj.core.data.Offset.offset(1e-4));
    assertThat(linalg_matrix_rank(first).item_long()).isEqualTo(3);
    assertThat(on(layer, SMALL).first(x).equal(layer.base(x))).isTrue();
    assertThat(there(state.get("abba_B2")).abs().max().item_double()).isZero();
    assertThat(there(state.get("abba_A2")).abs().max().item_double())
        .isBetween(0.5, Math.sqrt(6.0 / 8));
  }

  @Test
  void a_rank_above_that_of_the_weight_leaves_the_surplus_zero() {
    var layer = new Linear(draw.normal(6, 4), null);
    Map<String, Tensor> state = on(layer, SMALL.withRanks(9, 2)).state();

    Tensor first = there(state.get("abba_B1")).mm(there(state.get("abba_A1")));

    assertThat(gap(first, layer.weight())).isLessThan(1e-5);
    assertThat(there(state.get("abba_A1")).narrow(0, 4, 5).abs().max().item_double()).isZero();
  }

  @Test
  void the_update_has_the_product_of_the_ranks_at_the_sum_of_the_sizes() {
    var layer = new Linear(draw.normal(40, 30), null);
    AbbaLinear abba = trained(layer, SMALL.withRanks(4, 5));

    assertThat(linalg_matrix_rank(abba.deltaWeight()).item_long()).isEqualTo(20);
    assertThat(abba.parameters().values().stream().mapToLong(Tensor::numel).sum())
        .isEqualTo((4 + 5) * (40 + 30));
    assertThat(abba.scaling()).isEqualTo(6);
  }

  @Test
  void dropout_acts_on_the_branch_in_training_only() {
    var layer = new Linear(draw.normal(10, 8), draw.normal(10));
    AbbaLinear abba = trained(layer, SMALL.withDropout(0.5));
    Tensor x = draw.normal(2, 3, 8);

    abba.train(true);
    RandomState.seed(3);
    Tensor ours = abba.first(x);
    RandomState.seed(3);
    Tensor kept = torch.dropout(x.view(6, 8), 0.5, true).view(2, 3, 8);
    Tensor expected = layer.base(x).add(kept.matmul(abba.deltaWeight().t()));
    abba.train(false);
    Tensor calm = abba.first(x);

    double peak = calm.abs().max().item_double();
    assertThat(gap(ours, expected) / peak).isLessThan(1e-5);
    assertThat(gap(calm, layer.base(x).add(x.matmul(abba.deltaWeight().t()))) / peak)
        .isLessThan(1e-5);
    assertThat(gap(calm, ours)).isGreaterThan(0.1);
  }

  @Test
  void loading_asks_for_no_decomposition_and_gives_the_same_output() {
    var layer = new Linear(draw.normal(10, 8), null);
    AbbaLinear abba = trained(layer, SMALL);
    var broken = new Linear(layer.weight().clone().fill_(new Scalar(Double.NaN)), null);
    var adapters = Tree.adapters(broken);
    var saved = new java.util.HashMap<String, Tensor>();
    abba.state().forEach((name, t) -> saved.put("base_model.model.layer." + name, t));

    adapters.load("one", SMALL, saved, LoadOptions.defaults());

    Tensor delta = there(adapters.on("one").get("layer")).deltaWeight();
    assertThat(delta.equal(abba.deltaWeight())).isTrue();
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    AbbaConfig config = SMALL.withDropout(0.25).withAlphas(0.5, 3);
    AdapterCatalog catalog = AdapterCatalog.standard();

    var read = (AbbaConfig) catalog.read(catalog.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @Test
  void numbers_out_of_range_are_refused_all_at_once() {
    assertThatThrownBy(
            () -> new AbbaConfig(SMALL.head(), SMALL.targets(), 0, 2, Double.NaN, 16, 1.5))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "r1 is 0 but a rank is 1 or more; 16 is the default; alpha1 is NaN but a finite number"
                + " above 0 is needed; 16 is the default; abba_dropout is 1.5 but must lie in [0,"
                + " 1]; 0 turns it off");
  }

  @Test
  void what_it_does_not_adapt_is_refused_by_kind_and_path() {
    var embedding = new Embedding(draw.normal(10, 8));

    assertThatThrownBy(() -> SMALL.create(embedding, "embed", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "embed is a Embedding but ABBA adapts Linear and Conv1D; take it out of"
                + " target_modules");
  }
}
