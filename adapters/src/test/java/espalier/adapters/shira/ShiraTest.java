package espalier.adapters.shira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linear;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigHead;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import espalier.adapters.Tree;
import espalier.adapters.hira.HiraConfig;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
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
import org.junit.jupiter.params.provider.EnumSource;

class ShiraTest {

  private static final ShiraConfig CONFIG =
      ShiraConfig.defaults().withR(2).withZeroStart(false).withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private record Fixture(Adapters on, Linear layer) {}

  /** A model of one layer; nobody else holds its weight, so that it is trained in place. */
  private Fixture fixture(ScalarType dtype) {
    Linear layer;
    var base = new Tree.Draw(4);
    try (var _ = Scope.open()) {
      layer = new Linear(base.normal(12, 10).to(dtype), base.normal(12).to(dtype));
    }
    var adapters = Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("llama"));
    return new Fixture(adapters, layer);
  }

  private static ShiraLinear shira(Adapters adapters, String name) {
    return (ShiraLinear) there(adapters.on(name).get("layer"));
  }

  @Test
  void an_observer_of_the_layer_sees_each_call_with_the_adapter_in_it() {
    var layer = new Linear(new Tree.Draw(1).normal(6, 8), null);
    var adapters = Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("llama"));
    adapters.attach(
        "one",
        ShiraConfig.defaults().withR(1).withZeroStart(false).withTargets(Targets.named("layer")),
        1);
    var seen = new ArrayList<Tensor>();
    layer.observe(
        (x, y) -> {
          seen.add(y);
          return y;
        });
    Tensor x = new Tree.Draw(2).normal(3, 8);

    Tensor y = layer.forward(x);

    assertThat(seen).hasSize(1);
    assertThat(seen.getFirst().equal(y)).isTrue();
    assertThat(y.equal(layer.base(x))).isFalse();
  }

  @Test
  void a_layer_that_another_method_adapts_is_refused_unless_mixing_is_allowed() {
    var layer = new Linear(new Tree.Draw(1).normal(6, 8), null);
    var adapters = Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("llama"));
    var targets = Targets.named("layer");
    adapters.attach("dense", HiraConfig.defaults().withR(1).withTargets(targets), 1);

    assertThatThrownBy(
            () -> adapters.attach("few", ShiraConfig.defaults().withR(1).withTargets(targets), 1))
        .isInstanceOf(AdapterException.class)
        .hasMessage(
            "few is SHIRA but the adapter dense of this model is HIRA; allow it with"
                + " allowMixedMethods()");
    assertThat(adapters.names()).containsExactly("dense");
    assertThat(layer.adapters().all()).containsOnlyKeys("dense");
  }

  @Test
  void gradients_are_those_of_the_dense_formula() {
    Fixture fixture = fixture(ScalarType.Double);
    for (boolean training : new boolean[] {true, false}) {
      String name = "training" + training;
      fixture.on().attach(name, CONFIG, 1);
      ShiraLinear adapter = shira(fixture.on(), name);
      adapter.scale(0.7);
      fixture.layer().train(training);
      Tensor x = draw.normal(3, 5, 10).to(ScalarType.Double).set_requires_grad(true);
      Tensor g = draw.normal(3, 5, 12).to(ScalarType.Double);

      Tensor y = fixture.layer().forward(x);
      y.mul(g).sum().backward();
      Tensor dx = x.grad().clone();
      Tensor dv = adapter.values().grad().clone();
      x.mutable_grad().zero_();
      Tensor w = fixture.layer().originalWeight();
      Tensor delta = adapter.deltaWeight().detach().set_requires_grad(true);
      Tensor plain =
          linear(
              x,
              w.add(delta),
              new org.bytedeco.pytorch.TensorOptional(there(fixture.layer().bias())));
      plain.mul(g).sum().backward();
      Tensor expected =
          delta
              .grad()
              .reshape(-1)
              .index_select(0, adapter.support().positions())
              .mul(new Scalar(0.7));

      assertThat(gap(y, plain)).isLessThan(1e-12);
      assertThat(gap(dx, x.grad())).isLessThan(1e-12);
      assertThat(gap(dv, expected)).isLessThan(1e-12);
    }
  }

  @Test
  void the_ways_to_the_gradient_of_the_entries_agree() {
    Tensor x = draw.normal(7, 40).to(ScalarType.Double);
    Tensor g = draw.normal(7, 30).to(ScalarType.Double);
    var layer = new Linear(draw.normal(30, 40), null);
    Support support = ((ShiraLinear) CONFIG.create(layer, "layer", Init.shared(1))).support();
    Tensor rows = support.indices().select(0, 0).to(ScalarType.Long);
    Tensor columns = support.indices().select(0, 1).to(ScalarType.Long);
    Tensor gathered =
        g.index_select(1, rows).mul(x.index_select(1, columns)).sum(0).mul(new Scalar(-1.5));

    Tensor sampled = EntryGradient.sampled(g, x, support, -1.5);
    Tensor whole = EntryGradient.blocks(g, x, support, -1.5, Long.MAX_VALUE);
    Tensor byBlocks = EntryGradient.blocks(g, x, support, -1.5, 40 * 7);

    assertThat(gap(sampled, gathered)).isLessThan(1e-12);
    assertThat(gap(whole, gathered)).isLessThan(1e-12);
    assertThat(gap(byBlocks, gathered)).isLessThan(1e-12);
    assertThat(
            EntryGradient.of(g, x, support, -1.5).equal(byBlocks)
                || EntryGradient.of(g, x, support, -1.5).equal(sampled))
        .isTrue();
  }

  @Test
  void few_rows_and_many_rows_give_the_same_output() {
    Linear layer = new Linear(draw.normal(40, 30), draw.normal(40));
    var adapter = (ShiraLinear) CONFIG.withR(1).create(layer, "layer", Init.shared(1));
    Tensor many = draw.normal(50, 30);
    try (var _ = new NoGradGuard()) {
      Tensor whole = adapter.first(many);
      Tensor one = adapter.first(many.narrow(0, 3, 1));
      Tensor several = adapter.first(many.narrow(0, 3, 5).view(1, 5, 30));

      assertThat(gap(one, whole.narrow(0, 3, 1))).isLessThan(1e-5);
      assertThat(gap(several.view(5, 40), whole.narrow(0, 3, 5))).isLessThan(1e-5);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Float", "BFloat16"})
  void training_in_place_is_training_on_a_copy_and_leaves_no_trace(ScalarType dtype) {
    Fixture inPlace = fixture(dtype);
    Fixture copied = fixture(dtype);
    Tensor before = inPlace.layer().weight().clone();

    List<Double> losses = train(inPlace, 100);
    var held = new Tensor(copied.layer().weight()); // so that it can not be written to
    List<Double> onCopy = train(copied, 100);

    assertThat(losses).isEqualTo(onCopy);
    assertThat(losses.getLast()).isLessThan(0.7 * losses.getFirst());
    assertThat(shira(inPlace.on(), "one").values().equal(shira(copied.on(), "one").values()))
        .isTrue();
    assertThat(inPlace.layer().weight().equal(before)).isTrue();
    assertThat(held.equal(before)).isTrue();
  }

  private static List<Double> train(Fixture fixture, int steps) {
    fixture.on().attach("one", CONFIG.withZeroStart(true), 1);
    fixture.layer().train(true);
    Tensor values = shira(fixture.on(), "one").values();
    var losses = new ArrayList<Double>();
    var data = new Tree.Draw(9);
    ScalarType dtype = fixture.layer().dtype();
    Tensor x = data.normal(20, 10).to(dtype);
    Tensor wanted = data.normal(20, 12).to(dtype);
    for (int step = 0; step < steps; step++) {
      try (var _ = Scope.graph()) {
        Tensor y = fixture.layer().forward(x);
        Tensor loss = y.sub(wanted).to(ScalarType.Float).pow(new Scalar(2)).mean();
        loss.backward();
        losses.add(loss.item_double());
        try (var _ = new NoGradGuard()) {
          values.sub_(values.grad(), new Scalar(1));
          values.mutable_grad().reset();
        }
      }
    }
    return losses;
  }

  @Test
  void what_the_base_is_asked_between_forward_and_backward_does_not_change_the_gradient() {
    Fixture fixture = fixture(ScalarType.Float);
    fixture.on().attach("one", CONFIG, 1);
    fixture.layer().train(true);
    Tensor values = shira(fixture.on(), "one").values();
    Tensor x = draw.normal(5, 10).set_requires_grad(true);

    fixture.layer().forward(x).sum().backward();
    Tensor dx = x.grad().clone();
    Tensor dv = values.grad().clone();
    x.mutable_grad().zero_();
    values.mutable_grad().zero_();
    Tensor y = fixture.layer().forward(x);
    fixture.layer().base(x);
    y.sum().backward();

    assertThat(x.grad().equal(dx)).isTrue();
    assertThat(values.grad().equal(dv)).isTrue();
  }

  @Test
  void a_half_precision_base_takes_inputs_that_were_cast_and_gives_its_own_dtype() {
    Fixture fixture = fixture(ScalarType.BFloat16);
    fixture.on().attach("one", CONFIG, 1);
    Tensor x = draw.normal(200, 10).to(ScalarType.BFloat16);

    Tensor y = fixture.layer().forward(x);
    Tensor merged = shira(fixture.on(), "one").mergedInto(fixture.layer().weight());

    assertThat(shira(fixture.on(), "one").dtype()).isEqualTo(ScalarType.Float);
    assertThat(y.equal(fixture.layer().product(x, merged))).isTrue();
  }

  @Test
  void switching_merges_one_in_the_place_of_another_and_back() {
    Fixture fixture = fixture(ScalarType.BFloat16);
    fixture.on().attach("one", CONFIG, 1);
    fixture.on().add("two", CONFIG.withRandomSeed(3L), AttachOptions.seeded(2));
    Tensor before = fixture.layer().weight().clone();
    fixture.on().merge(List.of("one"), true);
    Tensor one = fixture.layer().weight().clone();
    fixture.on().unmerge();
    fixture.on().merge(List.of("two"), true);
    Tensor two = fixture.layer().weight().clone();

    fixture.on().switchTo(List.of("one"), true);
    boolean there = fixture.layer().weight().equal(one);
    fixture.on().switchTo(List.of("two"), true);
    boolean back = fixture.layer().weight().equal(two);
    List<String> merged = fixture.on().merged();
    List<String> active = fixture.on().active();
    fixture.on().switchTo(List.of(), true);

    assertThat(there).isTrue();
    assertThat(back).isTrue();
    assertThat(merged).containsExactly("two");
    assertThat(active).containsExactly("two");
    assertThat(fixture.layer().weight().equal(before)).isTrue();
  }

  @Test
  void a_switch_to_what_is_not_finite_is_refused_and_changes_nothing() {
    Fixture fixture = fixture(ScalarType.Float);
    fixture.on().attach("one", CONFIG, 1);
    fixture.on().add("two", CONFIG.withRandomSeed(3L), AttachOptions.seeded(2));
    try (var _ = new NoGradGuard()) {
      shira(fixture.on(), "two").values().fill_(new Scalar(Double.NaN));
    }
    fixture.on().switchTo(List.of("one"), true);
    Tensor before = fixture.layer().weight().clone();

    assertThatThrownBy(() -> fixture.on().switchTo(List.of("two"), true))
        .isInstanceOf(NotFiniteException.class)
        .hasMessage("layer: merging [two] gives entries that are not finite; nothing was merged");

    assertThat(fixture.layer().weight().equal(before)).isTrue();
    assertThat(fixture.on().merged()).containsExactly("one");
  }

  @Test
  void fused_adapters_are_the_sum_of_their_parts() {
    Fixture fixture = fixture(ScalarType.Float);
    fixture.on().attach("one", CONFIG, 1);
    fixture.on().add("two", CONFIG.withRandomSeed(3L), AttachOptions.seeded(2));
    shira(fixture.on(), "two").scale(3);
    Tensor sum =
        shira(fixture.on(), "one")
            .deltaWeight()
            .add(shira(fixture.on(), "two").deltaWeight().mul(new Scalar(-0.5)));
    Fusion fusion = Fusion.of(fixture.on(), Map.of("one", 1.0, "two", -0.5));

    Overlap overlap = fusion.overlaps().getFirst();
    var result = fusion.attachAs("both");

    ShiraLinear both = shira(fixture.on(), "both");
    var config = (ShiraConfig) fixture.on().config("both");
    assertThat(gap(both.deltaWeight(), sum)).isLessThan(1e-6);
    assertThat(overlap.common()).isEqualTo(common(fixture));
    assertThat(overlap.interference()).isGreaterThan(0.1);
    assertThat(config.mask().word()).isEqualTo("fused");
    assertThat(both.support().count()).isEqualTo(config.r() * 22L);
    assertThat(result.warnings()).noneMatch(warning -> warning.contains("can not read"));
  }

  @Test
  void the_fused_adapter_has_the_head_of_the_one_that_came_first() {
    Fixture fixture = fixture(ScalarType.Float);
    var head = ConfigHead.of(TaskType.CAUSAL_LM);
    fixture.on().attach("one", CONFIG.withHead(head), 1);
    fixture.on().add("two", CONFIG.withRandomSeed(3L), AttachOptions.seeded(2));
    var weights = new LinkedHashMap<String, Double>();
    weights.put("two", 1.0);
    weights.put("one", 1.0);

    Fusion.of(fixture.on(), weights).attachAs("both");

    assertThat(fixture.on().config("both").head().taskType()).isEqualTo(TaskType.CAUSAL_LM);
  }

  private static long common(Fixture fixture) {
    Tensor one = shira(fixture.on(), "one").deltaWeight().ne(new Scalar(0));
    Tensor two = shira(fixture.on(), "two").deltaWeight().ne(new Scalar(0));
    return one.logical_and(two).sum().item_long();
  }

  @Test
  void a_fusion_that_fills_a_small_layer_is_told_that_the_reference_can_not_read_it() {
    var tree =
        Tree.empty()
            .with("layer", new Linear(draw.normal(12, 10), null))
            .with("small", new Linear(draw.normal(5, 4), null));
    var adapters = Adapters.of(tree, ModelFacts.of("llama"));
    ShiraConfig config = CONFIG.withTargets(Targets.named("layer", "small"));
    adapters.attach("one", config, 1);
    adapters.add("two", config.withRandomSeed(3L), AttachOptions.seeded(2));

    tree.train(true);

    var result = Fusion.of(adapters, Map.of("one", 1.0, "two", 1.0)).attachAs("both");

    assertThat(tree.training()).isTrue();

    assertThat(result.warnings())
        .contains(
            "small has fewer than r·(out + in) entries for r 3, so the reference can not read the"
                + " fused adapter");
  }
}
