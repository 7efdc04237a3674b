package espalier.adapters.hira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import java.util.HashMap;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

class HiraExpertsTest {

  private static final HiraConfig UNSET =
      HiraConfig.defaults()
          .withR(2)
          .withInit(HiraInit.UNSET)
          .withTargets(Targets.named().withParameters(List.of("m.w")));

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private ExpertWeight layer(boolean transposed) {
    return new ExpertWeight(transposed ? draw.normal(3, 5, 6) : draw.normal(3, 6, 5), transposed);
  }

  private static Adapters on(ExpertWeight layer) {
    return Adapters.of(Tree.empty().with("m.w", layer), ModelFacts.of("llama"));
  }

  /** B of one expert by its columns, [out, 2]. */
  private static Tensor columns(Tensor b, int expert) {
    var columns = new TensorVector();
    columns.push_back(b.select(1, expert));
    columns.push_back(b.select(1, 3 + expert));
    return stack(columns, 1);
  }

  @ParameterizedTest(name = "stored as [in, out]: {0}")
  @ValueSource(booleans = {false, true})
  void each_expert_gains_its_weight_times_the_product_of_its_own_factors(boolean transposed) {
    ExpertWeight layer =
        new ExpertWeight(
            (transposed ? draw.normal(3, 5, 6) : draw.normal(3, 6, 5)).to(ScalarType.Double),
            transposed);
    var hira = (HiraExperts) UNSET.create(layer, "m.w", Init.shared(1));
    hira.to(ScalarType.Double);
    hira.trainable(true);
    layer.adapters().attach("one", hira);
    layer.adapters().activate(List.of("one"));
    Tensor a = there(hira.parameters().get("hira_A")); // [3·2, 5]
    Tensor b = there(hira.parameters().get("hira_B")); // [6, 2·3]
    Tensor x = draw.normal(4, 5).to(ScalarType.Double).set_requires_grad(true);

    for (int e = 0; e < 3; e++) {
      Tensor ours = layer.forward(x, e);
      ours.square().sum().backward();
      List<Tensor> found = List.of(x.grad().clone(), a.grad().clone(), b.grad().clone());
      List.of(x, a, b).forEach(t -> t.mutable_grad().zero_());
      Tensor product = columns(b, e).matmul(a.narrow(0, 2L * e, 2));
      Tensor plain = x.matmul(layer.weight(e).mul(product.add(new Scalar(1))).t());
      plain.square().sum().backward();

      HadamardTest.assertClose(ours, plain);
      HadamardTest.assertClose(found.get(0), x.grad());
      HadamardTest.assertClose(found.get(1), a.grad());
      HadamardTest.assertClose(found.get(2), b.grad());
      assertThat(a.grad().narrow(0, 2L * ((e + 1) % 3), 2).abs().sum().item_double())
          .as("another expert")
          .isZero();
      List.of(x, a, b).forEach(t -> t.mutable_grad().zero_());
    }
  }

  @ParameterizedTest(name = "stored as [in, out]: {0}")
  @ValueSource(booleans = {false, true})
  void one_expert_alone_all_together_and_merged_are_the_same(boolean transposed) {
    ExpertWeight layer = layer(transposed);
    Adapters adapters = on(layer);
    adapters.attach("a", UNSET, 1);
    adapters.add("b", UNSET.withR(3), AttachOptions.seeded(2));
    adapters.setActive(List.of("a", "b"));
    Tensor x = draw.normal(3, 4, 5);
    Tensor before = layer.weight().clone();

    Tensor all = layer.forward(x);
    adapters.merge(true);
    Tensor merged = layer.forward(x);
    adapters.unmerge();

    assertThat(gap(all, merged)).isLessThan(1e-4);
    assertThat(layer.weight().equal(before)).isTrue();
    for (int e = 0; e < 3; e++) {
      assertThat(gap(layer.forward(x.select(0, e), e), all.select(0, e))).isLessThan(1e-4);
    }
  }

  @Test
  void a_fresh_adapter_changes_nothing_on_stacks_and_on_plain_parameters() {
    for (ExpertWeight layer : List.of(layer(false), new ExpertWeight(draw.normal(6, 5), false))) {
      Adapters adapters = on(layer);
      Tensor x = draw.normal(4, 5);
      Tensor before = layer.forward(x, 0);

      adapters.attach("a", UNSET.withInit(HiraInit.UNIFORM), 1);

      assertThat(layer.forward(x, 0).equal(before)).isTrue();
    }
  }

  @Test
  void gaussian_means_the_rank_of_one_expert() {
    var layer = new ExpertWeight(draw.normal(40, 6, 50), false);
    var hira = UNSET.withR(4).withInit(HiraInit.GAUSSIAN).create(layer, "m.w", Init.shared(1));

    Tensor a = there(hira.state().get("hira_A"));

    assertThat(a.std().item_double()).isBetween(0.24, 0.26); // 1 / r, and not 1 / (r · experts)
  }

  @Test
  void a_file_gives_back_the_same_adapter_and_decides_the_rank() {
    ExpertWeight layer = layer(false);
    Adapters adapters = on(layer);
    adapters.attach("a", UNSET.withR(3), 1);
    Tensor x = draw.normal(4, 5);
    Tensor expected = layer.forward(x, 2);
    var saved = new HashMap<String, Tensor>();
    adapters.state("a").forEach((key, value) -> saved.put(key, value.clone()));
    var written = UNSET.format().write(adapters.config("a"));

    var config =
        (HiraConfig)
            AdapterCatalog.standard()
                .read(JsonMapper.shared().readTree(written.toString()).asObject())
                .config();
    var other = new ExpertWeight(layer.weight().clone(), false);
    Adapters loaded = on(other);
    loaded.load("a", config.withR(1), saved, LoadOptions.defaults());

    assertThat(saved).containsOnlyKeys("base_model.model.m.hira_A", "base_model.model.m.hira_B");
    assertThat(config.targets().parameters()).containsExactly("m.w");
    assertThat(other.forward(x, 2).equal(expected)).isTrue();
  }

  @Test
  void two_parameters_of_one_module_are_told_apart_by_their_keys() {
    Tree tree =
        Tree.empty()
            .with("m.experts.gate_up_proj", layer(false))
            .with("m.experts.down_proj", layer(false));
    Adapters adapters = Adapters.of(tree, ModelFacts.of("llama"));
    adapters.attach(
        "a",
        UNSET.withTargets(Targets.named().withParameters(List.of("gate_up_proj", "down_proj"))),
        1);

    assertThat(adapters.state("a"))
        .containsOnlyKeys(
            "base_model.model.m.experts.base_layer.hira_A",
            "base_model.model.m.experts.base_layer.hira_B",
            "base_model.model.m.experts.hira_A",
            "base_model.model.m.experts.hira_B");
  }

  @Test
  void dropout_acts_on_the_branch_of_an_expert_in_training_only() {
    ExpertWeight layer = layer(false);
    Adapters adapters = on(layer);
    adapters.attach("a", UNSET.withDropout(1), 1);
    Tensor x = draw.normal(4, 5);

    layer.train(true);
    Tensor dropped = layer.forward(x, 1);
    layer.train(false);
    Tensor kept = layer.forward(x, 1);

    assertThat(gap(dropped, x.matmul(layer.weight(1).t()))).isLessThan(1e-5);
    assertThat(gap(kept, dropped)).isGreaterThan(0.1);
  }

  @Test
  void rows_of_a_batch_and_blocks_are_refused() {
    ExpertWeight layer = layer(false);
    Adapters adapters = on(layer);
    adapters.attach("a", UNSET, 1);

    assertThatThrownBy(() -> adapters.mixed(List.of("a"), 1, () -> "never"))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("a at m.w: rows of one batch can not have different adapters");
    try (var _ = new NoGradGuard()) {
      assertThatThrownBy(() -> UNSET.withBlocks(2).create(layer, "m.w", Init.blank()))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageStartingWith("m.w is a Parameter but hira_blocks is for Linear and Conv1D");
    }
  }
}
