package espalier.adapters.hira;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.conv3d;
import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.LayerNorm;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import espalier.nn.TransposedLinear;
import java.util.Arrays;
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
import org.junit.jupiter.params.provider.ValueSource;

/** What HiRA does on each kind of layer: how it starts, and the corners of convolutions. */
class HiraLayersTest {

  private static final HiraConfig CONFIG = HiraConfig.defaults().withR(8);
  private static final HiraConfig UNSET = CONFIG.withR(2).withInit(HiraInit.UNSET);

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Convolution.Geometry geometry(int dimensions, int padding, String mode) {
    var one = new long[dimensions];
    var around = new long[dimensions];
    Arrays.fill(one, 1);
    Arrays.fill(around, padding);
    return new Convolution.Geometry(one, around, one, 1, mode);
  }

  /** Layers whose factors have some thousand entries, and their fan-in. */
  private Map<Adaptable, Integer> layers() {
    var layers = new LinkedHashMap<Adaptable, Integer>();
    layers.put(new Linear(draw.normal(500, 400), null), 400);
    layers.put(new TransposedLinear(draw.normal(400, 500), null), 400);
    layers.put(new Convolution(draw.normal(500, 50, 3, 3), null, geometry(2, 0, "zeros")), 450);
    return layers;
  }

  private static Tensor a(Adapter adapter) {
    return adapter.state().entrySet().stream()
        .filter(e -> e.getKey().endsWith("A"))
        .findFirst()
        .orElseThrow()
        .getValue();
  }

  private static Tensor b(Adapter adapter) {
    return adapter.state().entrySet().stream()
        .filter(e -> e.getKey().endsWith("B"))
        .findFirst()
        .orElseThrow()
        .getValue();
  }

  private static void assertUniform(Tensor tensor, double bound) {
    double largest = tensor.abs().max().item_double();
    assertThat(largest).isLessThanOrEqualTo(bound * (1 + 1e-6)).isGreaterThan(0.99 * bound);
    assertThat(tensor.std().item_double()).isBetween(0.97 * bound / 1.7321, 1.03 * bound / 1.7321);
  }

  private static void assertNormal(Tensor tensor, double deviation) {
    assertThat(tensor.std().item_double()).isBetween(0.95 * deviation, 1.05 * deviation);
    assertThat(Math.abs(tensor.mean().item_double())).isLessThan(0.1 * deviation);
    // a normal tensor of this size has entries beyond three deviations, a uniform one has none
    assertThat(tensor.abs().max().item_double()).isGreaterThan(2.8 * deviation);
  }

  @Test
  void usually_a_is_uniform_by_the_fan_in_and_b_zero() {
    layers()
        .forEach(
            (layer, fanIn) -> {
              Adapter adapter = CONFIG.create(layer, "layer", Init.shared(1));

              assertUniform(a(adapter), 1 / Math.sqrt(fanIn));
              assertThat(b(adapter).abs().max().item_double()).isZero();
            });
  }

  @Test
  void gaussian_is_normal_by_the_rank_on_matrices_and_ignored_on_kernels() {
    layers()
        .forEach(
            (layer, fanIn) -> {
              Adapter adapter =
                  CONFIG.withInit(HiraInit.GAUSSIAN).create(layer, "layer", Init.shared(1));

              if (layer instanceof Convolution) {
                assertUniform(a(adapter), 1 / Math.sqrt(fanIn));
              } else {
                assertNormal(a(adapter), 1.0 / 8);
              }
              assertThat(b(adapter).abs().max().item_double()).isZero();
            });
  }

  @Test
  void unset_is_standard_normal_on_both_sides_and_not_neutral() {
    layers()
        .forEach(
            (layer, _) -> {
              Adapter adapter =
                  CONFIG.withInit(HiraInit.UNSET).create(layer, "layer", Init.shared(1));

              assertNormal(a(adapter), 1);
              assertNormal(b(adapter), 1);
              assertThat(adapter.deltaWeight().abs().max().item_double()).isGreaterThan(1);
            });
  }

  @Test
  void on_an_embedding_b_is_normal_and_a_zero_unless_unset() {
    var layer = new Embedding(draw.normal(500, 400));

    for (HiraInit init : List.of(HiraInit.UNIFORM, HiraInit.GAUSSIAN)) {
      Adapter adapter = CONFIG.withInit(init).create(layer, "embed", Init.shared(1));
      assertThat(a(adapter).abs().max().item_double()).isZero();
      assertNormal(b(adapter), 1);
    }
    Adapter unset = CONFIG.withInit(HiraInit.UNSET).create(layer, "embed", Init.shared(1));
    assertNormal(a(unset), 1);
    assertNormal(b(unset), 1);
  }

  @Test
  void a_kernel_of_one_by_one_by_k_is_the_plain_formula() {
    var layer =
        new Convolution(
            draw.normal(4, 3, 1, 1, 3).to(ScalarType.Double), null, geometry(3, 0, "zeros"));
    Adapter hira = UNSET.create(layer, "conv", Init.shared(1));
    hira.to(ScalarType.Double);
    hira.trainable(true);
    Tensor x = draw.normal(2, 3, 2, 2, 7).to(ScalarType.Double).set_requires_grad(true);

    Tensor ours = hira.first(x);
    ours.square().sum().backward();
    List<Tensor> found = List.of(x.grad().clone(), a(hira).grad().clone(), b(hira).grad().clone());
    List.of(x, a(hira), b(hira)).forEach(t -> t.mutable_grad().zero_());
    Tensor m = b(hira).flatten(1, -1).matmul(a(hira).flatten(1, -1)).view_as(layer.weight());
    Tensor plain = conv3d(x, layer.weight().mul(m.add(new Scalar(1))));
    plain.square().sum().backward();

    HadamardTest.assertClose(ours, plain);
    HadamardTest.assertClose(found.get(0), x.grad());
    HadamardTest.assertClose(found.get(1), a(hira).grad());
    HadamardTest.assertClose(found.get(2), b(hira).grad());
  }

  @ParameterizedTest(name = "padding by {0}")
  @ValueSource(strings = {"circular", "reflect", "replicate"})
  void a_padded_convolution_pads_the_branch_as_the_base_so_that_merging_changes_nothing(
      String mode) {
    var layer = new Convolution(draw.normal(4, 3, 3), draw.normal(4), geometry(1, 1, mode));
    var adapters = Adapters.of(Tree.empty().with("conv", layer), ModelFacts.of("llama"));
    adapters.attach("one", UNSET.withTargets(Targets.named("conv")), 1);
    Tensor x = draw.normal(2, 3, 6);

    Tensor unmerged = layer.forward(x);
    // the branch as another adapter's neighbour, which is another way through the code
    Tensor apart = there(adapters.on("one").get("conv")).forward(x, layer.base(x));
    adapters.merge(true);

    HadamardTest.assertNear(layer.forward(x), unmerged, 1e-5);
    HadamardTest.assertNear(apart, unmerged, 1e-5);
  }

  @Test
  void dropout_on_an_embedding_is_told_of_when_it_is_attached() {
    var layer = new Embedding(draw.normal(9, 5));
    var adapters = Adapters.of(Tree.empty().with("embed", layer), ModelFacts.of("llama"));
    HiraConfig config = UNSET.withTargets(Targets.named("embed"));

    assertThat(adapters.attach("none", config, 1).warnings()).noneMatch(w -> w.contains("dropout"));
    assertThat(adapters.attach("some", config.withDropout(0.5), 1).warnings())
        .contains("embed: hira_dropout has no effect on an embedding");
    layer.train(true);
    Tensor ids = Tensor.create(new long[] {3, 0}, 2);
    assertThat(layer.forward(ids).equal(layer.forward(ids))).isTrue();
  }

  @Test
  void two_adapters_drop_inputs_by_a_draw_each_and_none_in_evaluation() {
    var layer = new Linear(draw.normal(6, 8), null);
    var adapters = Tree.adapters(layer);
    HiraConfig config = UNSET.withDropout(0.5).withTargets(Targets.named("layer"));
    adapters.attach("one", config, 1);
    adapters.add("two", config, AttachOptions.seeded(2));
    adapters.setActive(List.of("one", "two"));
    Tensor x = draw.normal(5, 8);
    Tensor one = there(adapters.on("one").get("layer")).deltaWeight();
    Tensor two = there(adapters.on("two").get("layer")).deltaWeight();
    try (var _ = new NoGradGuard()) {
      layer.train(true);
      RandomState.seed(9);
      Tensor ours = layer.forward(x);
      RandomState.seed(9);
      Tensor first = dropout(x, 0.5, true);
      Tensor second = dropout(x, 0.5, true);

      Tensor plain = layer.base(x).add(first.matmul(one.t())).add(second.matmul(two.t()));
      assertThat(first.equal(second)).isFalse();
      HadamardTest.assertNear(ours, plain, 1e-4);

      layer.train(false);
      Tensor whole = layer.base(x).add(x.matmul(one.t())).add(x.matmul(two.t()));
      HadamardTest.assertNear(layer.forward(x), whole, 1e-4);
    }
  }

  @Test
  void an_embedding_looks_rows_up_without_a_matrix_of_the_size_of_its_table() {
    long wide = 1_000_000; // a table of 4 TB, of which one number is in memory
    var layer = new Embedding(draw.normal(1).expand(wide, wide));
    Adapter hira = CONFIG.withR(1).create(layer, "embed", Init.blank());
    hira.trainable(true);
    Tensor ids = Tensor.create(new long[] {7, 999_999}, 2);

    Tensor y = hira.first(ids);
    y.sum().backward();

    assertThat(y.size(1)).isEqualTo(wide);
    assertThat(new Tensor(a(hira).grad()).numel()).isEqualTo(wide);
  }

  @Test
  void opt_125m_has_as_many_parameters_as_published() {
    Tree tree =
        Tree.empty()
            .with("model.decoder.embed_tokens", new Embedding(shape(50272, 768)))
            .with("model.decoder.embed_positions", new Embedding(shape(2050, 768)))
            .with("model.decoder.final_layer_norm", norm());
    for (int i = 0; i < 12; i++) {
      String block = "model.decoder.layers." + i + ".";
      for (String name : List.of("k_proj", "v_proj", "q_proj", "out_proj")) {
        tree.with(block + "self_attn." + name, new Linear(shape(768, 768), shape(768)));
      }
      tree.with(block + "self_attn_layer_norm", norm())
          .with(block + "fc1", new Linear(shape(3072, 768), shape(3072)))
          .with(block + "fc2", new Linear(shape(768, 3072), shape(768)))
          .with(block + "final_layer_norm", norm());
    }
    Adapters adapters = Adapters.of(tree, ModelFacts.of("opt"));
    Targets targets = Targets.named("k_proj", "q_proj", "v_proj", "fc1", "fc2");

    adapters.attach("default", HiraConfig.defaults().withTargets(targets), 1);

    assertThat(adapters.trainableLine())
        .isEqualTo("trainable params: 4,718,592 || all params: 129,957,888 || trainable%: 3.6309");
  }

  /** A tensor of a shape, with one number behind all of its entries. */
  private Tensor shape(long... shape) {
    return draw.normal(1).expand(shape);
  }

  private LayerNorm norm() {
    return new LayerNorm(shape(768), shape(768), 1e-5);
  }
}
