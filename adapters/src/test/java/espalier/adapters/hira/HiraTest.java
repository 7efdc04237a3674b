package espalier.adapters.hira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;

import espalier.adapters.AttachOptions;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.StateMismatchException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import espalier.nn.RmsNorm;
import espalier.nn.TransposedLinear;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class HiraTest {

  private static final HiraConfig UNSET = HiraConfig.defaults().withR(2).withInit(HiraInit.UNSET);

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  @Test
  void the_update_has_a_higher_rank_than_its_factors() {
    var layer = new Linear(draw.normal(48, 48), null);
    var hira = (HiraLinear) UNSET.create(layer, "layer", Init.shared(1));

    assertThat(linalg_matrix_rank(hira.modulation()).item_long()).isEqualTo(2);
    assertThat(linalg_matrix_rank(hira.deltaWeight()).item_long()).isEqualTo(48);
  }

  @Test
  void the_modulation_stands_as_the_weight_is_stored_and_the_delta_as_it_is_meant() {
    var layer = new TransposedLinear(draw.normal(8, 6), null);
    var hira = (HiraLinear) UNSET.create(layer, "layer", Init.shared(1));

    assertThat(hira.modulation().size(0)).isEqualTo(8);
    assertThat(hira.deltaWeight().size(0)).isEqualTo(6);
    assertThat(gap(hira.deltaWeight(), layer.weight().mul(hira.modulation().t()))).isLessThan(1e-6);
  }

  @Test
  void dropout_acts_on_the_branch_in_training_only() {
    var layer = new Linear(draw.normal(6, 8), null);
    var hira = (HiraLinear) UNSET.withDropout(1).create(layer, "layer", Init.shared(1));
    Tensor x = draw.normal(5, 8);

    hira.train(true);
    Tensor dropped = hira.first(x);
    hira.train(false);
    Tensor kept = hira.first(x);

    // with everything dropped the base alone is left, which sees the whole input
    assertThat(dropped.equal(layer.base(x))).isTrue();
    assertThat(gap(kept, dropped)).isGreaterThan(0.1);
  }

  @Test
  void gradients_through_dropout_are_those_of_the_plain_formula() {
    var layer = new Linear(draw.normal(6, 8).to(ScalarType.Double), null);
    var hira = (HiraLinear) UNSET.withDropout(0.5).create(layer, "layer", Init.shared(1));
    hira.to(ScalarType.Double);
    hira.trainable(true);
    hira.train(true);
    Tensor x = draw.normal(5, 8).to(ScalarType.Double).set_requires_grad(true);
    Tensor a = there(hira.parameters().get("hira_A"));
    Tensor b = there(hira.parameters().get("hira_B"));

    RandomState.seed(9);
    hira.first(x).pow(new Scalar(2)).sum().backward();
    List<Tensor> ours = List.of(x.grad().clone(), a.grad().clone(), b.grad().clone());
    List.of(x, a, b).forEach(t -> t.mutable_grad().zero_());
    RandomState.seed(9);
    Tensor kept = org.bytedeco.pytorch.global.torch.dropout(x, 0.5, true);
    Tensor plain = layer.base(x).add(kept.matmul(layer.weight().mul(b.matmul(a)).t()));
    plain.pow(new Scalar(2)).sum().backward();

    HadamardTest.assertClose(ours.get(0), x.grad());
    HadamardTest.assertClose(ours.get(1), a.grad());
    HadamardTest.assertClose(ours.get(2), b.grad());
  }

  @Test
  void a_second_adapter_is_merged_onto_the_original_weight() {
    var layer = new Linear(draw.normal(6, 8), null);
    var adapters = Tree.adapters(layer);
    HiraConfig config = UNSET.withTargets(Targets.named("layer"));
    adapters.attach("one", config, 1);
    adapters.add("two", config, AttachOptions.seeded(2));
    Tensor w = layer.weight().clone();
    Tensor m1 = ((HiraLinear) there(adapters.on("one").get("layer"))).modulation();
    Tensor m2 = ((HiraLinear) there(adapters.on("two").get("layer"))).modulation();

    adapters.merge(List.of("one"), true);
    adapters.merge(List.of("two"), true);

    Tensor expected = w.mul(m1.add(m2).add(new Scalar(1)));
    assertThat(gap(layer.weight(), expected)).isLessThan(1e-5);
  }

  @Test
  void an_embedding_gathers_what_it_looks_up_and_gives_repeated_tokens_their_sum() {
    var layer = new Embedding(draw.normal(9, 5).to(ScalarType.Double), -1, 3);
    var hira = (HiraEmbedding) UNSET.create(layer, "embed", Init.shared(1));
    hira.to(ScalarType.Double);
    hira.trainable(true);
    Tensor a = there(hira.parameters().get("hira_embedding_A"));
    Tensor b = there(hira.parameters().get("hira_embedding_B"));
    Tensor ids = Tensor.create(new long[] {3, 3, 0, 8, 3, 1}, 2, 3);

    Tensor ours = hira.first(ids);
    ours.pow(new Scalar(2)).sum().backward();
    Tensor da = a.grad().clone();
    Tensor db = b.grad().clone();
    a.mutable_grad().zero_();
    b.mutable_grad().zero_();
    Tensor table = layer.weight().mul(b.matmul(a).t().add(new Scalar(1)));
    Tensor expected = layer.base(ids, table, null);
    expected.pow(new Scalar(2)).sum().backward();

    HadamardTest.assertClose(ours, expected);
    HadamardTest.assertClose(da, a.grad());
    HadamardTest.assertClose(db, b.grad());
    assertThat(da.select(1, 2).abs().sum().item_double()).as("a token not seen").isZero();
  }

  @Test
  void like_the_reference_the_branch_of_a_scaled_embedding_may_go_unscaled() {
    var layer = new Embedding(draw.normal(9, 5), -1, 3);
    Tensor ids = Tensor.create(new long[] {3, 0}, 2);
    var ours = UNSET.create(layer, "embed", Init.shared(1));
    var theirs = UNSET.withLikeReference(true).create(layer, "embed", Init.shared(1));
    Tensor base = layer.base(ids);

    Tensor scaled = ours.first(ids).sub(base);
    Tensor unscaled = theirs.first(ids).sub(base);

    assertThat(gap(scaled, unscaled.mul(new Scalar(3)))).isLessThan(1e-5);
  }

  @Test
  void the_rank_pattern_counts_for_the_first_adapter_unless_the_reference_is_followed() {
    HiraConfig config = UNSET.withRankPattern(Map.of("layer", 3));
    var layer = new Linear(draw.normal(6, 8), null);

    assertThat(rank(config, layer)).isEqualTo(3);
    assertThat(rank(config.withLikeReference(true), layer)).isEqualTo(2);
    layer.adapters().attach("first", config.create(layer, "layer", Init.blank()));
    assertThat(rank(config.withLikeReference(true), layer)).isEqualTo(3);
  }

  private static long rank(HiraConfig config, Linear layer) {
    return there(config.create(layer, "layer", Init.blank()).state().get("hira_A")).size(0);
  }

  @Test
  void on_loading_the_shapes_in_the_file_decide_the_rank() {
    var layer = new Linear(draw.normal(6, 8), null);
    var adapters = Tree.adapters(layer);
    var saved = new HashMap<String, Tensor>();
    saved.put("base_model.model.layer.hira_A", draw.normal(5, 8));
    saved.put("base_model.model.layer.hira_B", draw.normal(6, 5));
    HiraConfig config = UNSET.withTargets(Targets.named("layer"));

    adapters.load("default", config, saved, LoadOptions.defaults());

    assertThat(there(adapters.state("default").get("base_model.model.layer.hira_A")).size(0))
        .isEqualTo(5);
    saved.put("base_model.model.layer.hira_B", draw.normal(6, 4));
    assertThatThrownBy(() -> adapters.load("two", config, saved, LoadOptions.defaults()))
        .isInstanceOf(StateMismatchException.class)
        .hasMessage("layer: A has rank 5 but B has rank 4; both come from one file");
    assertThat(adapters.names()).containsExactly("default");
  }

  @Test
  void what_it_does_not_adapt_is_refused_by_kind_and_path() {
    var norm = new RmsNorm(draw.normal(4), 1e-6);
    var grouped =
        new Convolution(
            draw.normal(8, 2, 3),
            null,
            new Convolution.Geometry(new long[] {1}, new long[] {0}, new long[] {1}, 2, "zeros"));

    assertThatThrownBy(() -> UNSET.create(norm, "model.norm", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "model.norm is a RmsNorm but HiRA adapts Linear, Conv1D, Embedding, Conv1d, Conv2d,"
                + " Conv3d and stacked parameters; take it out of target_modules");
    assertThatThrownBy(() -> UNSET.create(grouped, "conv", Init.blank()))
        .hasMessage("conv is a Conv1d in 2 groups but HiRA needs one group; leave it out");
  }

  @Test
  void the_parameters_of_opt_125m_are_as_many_as_published() {
    long attention = 3 * 32 * (768 + 768);
    long feedForward = 2 * 32 * (768 + 3072);

    assertThat(12 * (attention + feedForward)).isEqualTo(4_718_592);
    try (var _ = new NoGradGuard()) {
      var layer = new Linear(draw.normal(30, 7), null);
      var hira = HiraConfig.defaults().create(layer, "fc1", Init.blank());
      assertThat(hira.parameters().values().stream().mapToLong(Tensor::numel).sum())
          .isEqualTo(32 * (30 + 7));
    }
  }
}
