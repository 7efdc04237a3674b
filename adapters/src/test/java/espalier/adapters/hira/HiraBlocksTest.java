package espalier.adapters.hira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;

import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.gralora.GraloraConfig;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Rows;
import espalier.nn.TransposedLinear;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A modulation of its own for each block of the weight. */
class HiraBlocksTest {

  private static final HiraConfig BLOCKS =
      HiraConfig.defaults()
          .withR(6)
          .withBlocks(3)
          .withInit(HiraInit.UNSET)
          .withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Tensor leaf(long... shape) {
    return draw.normal(shape).to(ScalarType.Double).set_requires_grad(true);
  }

  private static HiraLinear on(Linear layer, HiraConfig config) {
    return (HiraLinear) config.create(layer, "layer", Init.shared(1));
  }

  /** The grid's matrix [24, 18] as autograd sees it, block by block. */
  private static Tensor dense(Tensor p, Tensor q) {
    Tensor dense = p.new_zeros(24, 18);
    for (long j = 0; j < 3; j++) {
      for (long l = 0; l < 3; l++) {
        Tensor a = q.select(0, l).narrow(1, j * 2, 2);
        Tensor b = p.select(0, j).narrow(0, l * 2, 2);
        dense.narrow(0, j * 8, 8).narrow(1, l * 6, 6).copy_(a.mm(b).t());
      }
    }
    return dense;
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 5 * 18, 1 << 20})
  void the_node_is_the_dense_formula_whatever_rows_it_forms_at_once(long block) {
    for (boolean transposed : new boolean[] {false, true}) {
      for (boolean withBase : new boolean[] {false, true}) {
        Tensor w = draw.normal(24, 18).to(ScalarType.Double);
        Tensor bias = draw.normal(24).to(ScalarType.Double);
        Linear layer =
            transposed ? new TransposedLinear(w.t().contiguous(), bias) : new Linear(w, bias);
        Tensor x = leaf(10, 18);
        Tensor p = leaf(3, 6, 8);
        Tensor q = leaf(3, 6, 6);
        Tensor g = draw.normal(10, 24).to(ScalarType.Double);

        Tensor ours = new Hadamard(layer, withBase, block).apply(x, p, q);
        ours.mul(g).sum().backward();
        List<Tensor> own = List.of(x.grad().clone(), p.grad().clone(), q.grad().clone());
        List.of(x, p, q).forEach(t -> t.mutable_grad().zero_());
        Tensor branch = x.matmul(w.mul(dense(p, q)).t());
        Tensor expected = withBase ? layer.base(x).add(branch) : branch;
        expected.mul(g).sum().backward();

        HadamardTest.assertClose(ours, expected);
        HadamardTest.assertClose(own.get(0), x.grad());
        HadamardTest.assertClose(own.get(1), p.grad());
        HadamardTest.assertClose(own.get(2), q.grad());
      }
    }
  }

  @Test
  void one_token_takes_the_short_way_to_the_same_numbers() {
    try (var _ = new NoGradGuard()) {
      var layer =
          new Linear(
              draw.normal(24, 18).to(ScalarType.Double), draw.normal(24).to(ScalarType.Double));
      Tensor x = draw.normal(1, 1, 18).to(ScalarType.Double);
      Tensor p = draw.normal(3, 6, 8).to(ScalarType.Double);
      Tensor q = draw.normal(3, 6, 6).to(ScalarType.Double);
      Tensor branch = x.matmul(layer.weight().mul(dense(p, q)).t());

      HadamardTest.assertClose(Hadamard.whole(layer, x, p, q), layer.base(x).add(branch));
      HadamardTest.assertClose(Hadamard.branch(layer, x, p, q), branch);
    }
  }

  @Test
  void a_grid_of_one_block_is_hira() {
    var layer = new Linear(draw.normal(24, 18), draw.normal(24));
    Tensor x = draw.normal(5, 18);
    Tensor p = draw.normal(24, 2);
    Tensor q = draw.normal(2, 18);
    Tensor asGridP = p.t().unsqueeze(0); // [1, r, out]
    Tensor asGridQ = q.t().unsqueeze(0); // [1, in, r]

    Tensor hira = Hadamard.whole(layer, x, p, q);
    Tensor grid = Hadamard.whole(layer, x, asGridP, asGridQ);

    assertThat(gap(grid, hira) / hira.abs().max().item_double()).isLessThan(1e-6);
    assertThat(there(on(layer, BLOCKS.withBlocks(1)).state().get("hira_A")).dim()).isEqualTo(2);
  }

  @Test
  void the_modulation_is_the_delta_of_gralora() {
    var layer = new Linear(draw.normal(24, 18), null);
    HiraLinear blocks = on(layer, BLOCKS);
    Adapter gralora =
        GraloraConfig.defaults().withRAndK(6, 3).withAlpha(6).create(layer, "layer", Init.blank());
    gralora.load(
        Map.of(
            "gralora_A", there(blocks.state().get("hira_A")),
            "gralora_B", there(blocks.state().get("hira_B"))));

    assertThat(gap(blocks.modulation(), gralora.deltaWeight())).isLessThan(1e-6);
    assertThat(gap(blocks.deltaWeight(), layer.weight().mul(gralora.deltaWeight())))
        .isLessThan(1e-6);
    assertThat(linalg_matrix_rank(blocks.modulation()).item_long()).isEqualTo(18);
  }

  @Test
  void it_has_as_many_parameters_as_hira_and_changes_nothing_at_first() {
    var layer = new Linear(draw.normal(24, 18), draw.normal(24));
    HiraLinear fresh = on(layer, BLOCKS.withInit(HiraInit.UNIFORM));
    Tensor x = draw.normal(5, 18);

    assertThat(fresh.parameters().values().stream().mapToLong(Tensor::numel).sum())
        .isEqualTo(6 * (18 + 24));
    assertThat(gap(fresh.first(x), layer.base(x))).isLessThan(1e-6);
    assertThat(there(fresh.state().get("hira_A")).abs().max().item_double())
        .isBetween(0.38, 1 / Math.sqrt(6));
  }

  @Test
  void it_merges_shares_a_batch_and_unmerges_bit_for_bit_in_half_precision() {
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      var layer = new TransposedLinear(draw.normal(18, 24).to(dtype), null);
      var adapters = Tree.adapters(layer);
      adapters.attach("blocks", BLOCKS, 1);
      adapters.add("plain", BLOCKS.withBlocks(1), AttachOptions.seeded(2));
      Tensor x = draw.normal(3, 4, 18).to(dtype);
      Tensor before = layer.storedWeight().clone();
      Tensor base = layer.base(x);
      Tensor own = layer.forward(x);

      Tensor mixed =
          adapters.mixed(List.of("plain", Rows.BASE, "blocks"), 3, () -> layer.forward(x));
      adapters.merge(List.of("blocks"), true);
      Tensor merged = layer.forward(x);
      adapters.unmerge();

      double peak = own.abs().max().item_double();
      double bound = dtype == ScalarType.Float ? 1e-6 : 2e-2;
      assertThat(gap(merged, own) / peak).isLessThan(bound);
      assertThat(gap(mixed.select(0, 2), own.select(0, 2)) / peak).isLessThan(bound);
      assertThat(gap(mixed.select(0, 1), base.select(0, 1))).isZero();
      assertThat(layer.storedWeight().equal(before)).isTrue();
    }
  }

  @Test
  void the_file_decides_the_rank_as_long_as_the_grid_fits() {
    var layer = new Linear(draw.normal(24, 18), null);
    var adapters = Tree.adapters(layer);
    var saved = new HashMap<String, Tensor>();
    saved.put("base_model.model.layer.hira_A", draw.normal(3, 6, 9));
    saved.put("base_model.model.layer.hira_B", draw.normal(3, 9, 8));

    adapters.load("default", BLOCKS, saved, LoadOptions.defaults());

    assertThat(there(adapters.state("default").get("base_model.model.layer.hira_A")).size(2))
        .isEqualTo(9);
    saved.put("base_model.model.layer.hira_A", draw.normal(3, 6, 8));
    assertThatThrownBy(() -> adapters.load("two", BLOCKS, saved, LoadOptions.defaults()))
        .hasMessageStartingWith("layer: hira_A is [3, 6, 8] in the file but [3, 6, 6] here");
  }

  @Test
  void the_field_stands_in_the_file_only_where_it_says_something() {
    AdapterCatalog catalog = AdapterCatalog.standard();

    assertThat(catalog.write(HiraConfig.defaults()).has("hira_blocks")).isFalse();
    assertThat(catalog.write(BLOCKS).get("hira_blocks").intValue()).isEqualTo(3);
    assertThat(((HiraConfig) catalog.read(catalog.write(BLOCKS)).config()).blocks()).isEqualTo(3);
  }

  @Test
  void what_can_not_be_cut_is_refused() {
    var layer = new Linear(draw.normal(24, 18), null);
    var embedding = new Embedding(draw.normal(9, 6));

    assertThatThrownBy(() -> BLOCKS.withBlocks(4))
        .isInstanceOf(ConfigException.class)
        .hasMessage("r is 6 but must be divisible by hira_blocks, which is 4; change one of them");
    assertThatThrownBy(() -> BLOCKS.withBlocks(0))
        .hasMessage("hira_blocks is 0 but 1 or more is needed; 1 is HiRA");
    assertThatThrownBy(() -> BLOCKS.withRankPattern(Map.of("q", 4)))
        .hasMessage("rank_pattern has 4 for q but must be divisible by hira_blocks, which is 3");
    assertThatThrownBy(() -> on(layer, HiraConfig.defaults().withBlocks(4)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer is [24, 18] but hira_blocks 4 needs both divisible by 4; use one of 1, 2, 3, 6,"
                + " or leave the layer out");
    assertThatThrownBy(() -> BLOCKS.create(embedding, "embed", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "embed is a Embedding but hira_blocks is for Linear and Conv1D; set it to 1, or leave"
                + " the layer out");
  }
}
