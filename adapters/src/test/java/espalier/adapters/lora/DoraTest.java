package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.linalg_vector_norm;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.BiasTraining;
import espalier.adapters.LayerKind;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.Rows;
import espalier.nn.TransposedLinear;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class DoraTest {

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder config() {
    return LoraConfig.builder()
        .r(2)
        .alpha(3)
        .targets(Targets.named("layer"))
        .variant(new LoraVariant.Dora());
  }

  private static Adapters on(Adaptable layer) {
    return Tree.adapters(layer);
  }

  private static Adapter adapter(Adapters adapters, String name) {
    return there(adapters.on(name).get("layer"));
  }

  @Test
  void over_bfloat16_a_magnitude_that_moves_no_digit_by_itself_still_moves_the_output() {
    double grown = 1.001; // bfloat16 has steps of 1/128 to 1/256 of a number
    var draw = new Tree.Draw(5);
    var layer = new Linear(draw.normal(64, 32).to(ScalarType.BFloat16), null);
    Adapters adapters = on(layer);
    adapters.attach("default", config().build(), 1);
    Tensor x = draw.normal(200, 32).to(ScalarType.BFloat16);
    Tensor before = layer.base(x.to(ScalarType.BFloat16)).to(ScalarType.Float);
    try (var _ = new NoGradGuard()) {
      there(adapter(adapters, "default").parameters().get(Magnitude.NAME)).mul_(new Scalar(grown));
    }

    Tensor after = layer.forward(x).to(ScalarType.Float);

    double ratio = after.mul(before).sum().item_double() / before.mul(before).sum().item_double();
    assertThat(ratio).isBetween(1.0005, 1.0015);
  }

  /** Moves what is trained away from the start, the magnitude by a little. */
  private static void train(Adapters adapters, String name, long seed) {
    var draw = new Tree.Draw(seed);
    try (var _ = new NoGradGuard()) {
      adapter(adapters, name)
          .parameters()
          .values()
          .forEach(p -> p.add_(draw.normal(p.shape()).mul(new Scalar(0.3))));
    }
  }

  private static Adapters trained(Adaptable layer) {
    Adapters adapters = on(layer);
    adapters.attach("one", config().build(), 3);
    train(adapters, "one", 11);
    return adapters;
  }

  private static double gap(Tensor a, Tensor b) {
    return a.to(ScalarType.Double).sub(b.to(ScalarType.Double)).abs().max().item_double();
  }

  private static Tensor silent(Adaptable layer, Tensor x) {
    try (var _ = new NoGradGuard()) {
      return layer.forward(x);
    }
  }

  @ParameterizedTest
  @EnumSource
  void a_new_adapter_changes_nothing_but_the_rounding_of_a_bias(LayerKind kind) {
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      for (boolean autocast : new boolean[] {true, false}) {
        Adaptable layer = kind.layer(dtype);
        Adapters adapters = on(layer);
        adapters.attach("one", config().build(), AttachOptions.seeded(3).withAutocast(autocast));
        Tensor x = kind.input(dtype);

        // A bias is added after the magnitude and not with the product, which rounds once more.
        double allowed = layer.bias() == null ? 0 : dtype == ScalarType.Float ? 1e-5 : 0.07;
        assertThat(gap(layer.forward(x), layer.base(x))).isLessThanOrEqualTo(allowed);
        assertThat(gap(silent(layer, x), layer.base(x))).isLessThanOrEqualTo(allowed);
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void the_branch_and_the_merged_weight_give_the_same_output(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = trained(layer);
    Tensor x = kind.input(ScalarType.Float);
    Tensor before = layer.weight().clone();
    Tensor branch = layer.forward(x);

    adapters.merge(true);
    Tensor merged = layer.forward(x);
    Tensor after = layer.weight().clone();
    adapters.unmerge();

    assertThat(gap(branch, layer.base(x))).isGreaterThan(0.01);
    assertThat(gap(branch, merged)).isLessThan(1e-4);
    assertThat(layer.weight().equal(before)).isTrue();
    assertThat(gap(adapter(adapters, "one").deltaWeight(), after.sub(before))).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource
  void several_adapters_chain_in_their_order_as_they_merge(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = trained(layer);
    adapters.add("two", config().r(3).build(), AttachOptions.seeded(5));
    train(adapters, "two", 12);
    boolean biased = layer.bias() != null;
    LoraConfig plain =
        config()
            .variant(new LoraVariant.Plain())
            .init(new LoraInit.Unset())
            .loraBias(biased)
            .build();
    adapters.add("plain", plain, AttachOptions.seeded(6));
    Tensor x = kind.input(ScalarType.Float);
    var seen = new ArrayList<Tensor>();

    for (List<String> order :
        List.of(
            List.of("one", "two"),
            List.of("two", "one"),
            List.of("plain", "one"),
            List.of("one", "plain"))) {
      adapters.setActive(order);
      Tensor chained = layer.forward(x);
      adapters.merge(List.of(order.getFirst()), true);
      Tensor half = layer.forward(x);
      adapters.merge(List.of(order.getLast()), true);
      Tensor whole = layer.forward(x);
      adapters.unmerge();
      adapters.merge(order, true);
      Tensor atOnce = layer.forward(x);
      adapters.unmerge();

      assertThat(gap(chained, half)).as("one merged, %s", order).isLessThan(1e-4);
      assertThat(gap(chained, whole)).as("both merged, %s", order).isLessThan(1e-4);
      assertThat(gap(whole, atOnce)).as("merged at once, %s", order).isLessThan(1e-5);
      seen.add(chained);
    }
    assertThat(gap(seen.get(2), seen.get(3))).as("the order counts").isGreaterThan(1e-3);
  }

  /** y of the paper in the words of autograd, with n a constant. */
  private static Tensor dense(Adaptable layer, Adapter adapter, Tensor x) {
    Map<String, Tensor> p = adapter.parameters();
    Tensor w = layer.weight();
    Tensor m = there(p.get("lora_magnitude_vector"));
    Tensor delta;
    if (layer instanceof Embedding) {
      Tensor a = there(p.get("lora_embedding_A"));
      delta = a.t().matmul(there(p.get("lora_embedding_B")).t());
    } else {
      Tensor a = there(p.get("lora_A.weight")).flatten(1, -1);
      delta = there(p.get("lora_B.weight")).flatten(1, -1).matmul(a).view_as(w);
    }
    Tensor sum = w.add(delta.mul(new Scalar(1.5)));
    Tensor rows = layer instanceof Embedding ? sum.t() : sum.flatten(1, -1);
    Tensor n =
        linalg_vector_norm(
                rows.detach(), new Scalar(2), new long[] {1}, false, new ScalarTypeOptional())
            .view_as(m);
    Tensor c = m.div(n);
    Tensor spread =
        switch (layer) {
          case Embedding _ -> c;
          case Convolution _ -> c.transpose(0, 1);
          default -> c.unsqueeze(1);
        };
    return layer.base(x, sum.mul(spread), layer.bias());
  }

  @ParameterizedTest
  @EnumSource
  void gradients_are_those_of_the_dense_formula_with_the_norm_held(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Double);
    Adapters adapters = trained(layer);
    Adapter adapter = adapter(adapters, "one");
    Tensor x = kind.input(ScalarType.Double);
    x.set_requires_grad(x.is_floating_point());
    var leaves = new LinkedHashMap<>(adapter.parameters());
    if (x.requires_grad()) {
      leaves.put("x", x);
    }
    Tensor y = layer.forward(x);
    Tensor g = new Tree.Draw(77).normal(y.shape()).to(ScalarType.Double);
    y.mul(g).sum().backward();
    var own = new LinkedHashMap<String, Tensor>();
    leaves.forEach((name, leaf) -> own.put(name, leaf.grad().clone()));
    leaves.values().forEach(leaf -> leaf.mutable_grad().zero_());

    Tensor expected = dense(layer, adapter, x);
    expected.mul(g).sum().backward();

    assertThat(gap(y, expected)).isLessThan(1e-10);
    assertThat(own).hasSizeGreaterThanOrEqualTo(3);
    own.forEach(
        (name, gradient) ->
            assertThat(gap(gradient, there(leaves.get(name)).grad())).as(name).isLessThan(1e-9));
  }

  @Test
  void gradients_through_a_chain_are_those_of_the_formula() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Double);
    Adapters adapters = trained(layer);
    adapters.add("two", config().build(), AttachOptions.seeded(5));
    train(adapters, "two", 12);
    adapters.setActive(List.of("one", "two"));
    Tensor x = LayerKind.LINEAR.input(ScalarType.Double).set_requires_grad(true);
    Tensor g = new Tree.Draw(77).normal(3, 5, 6).to(ScalarType.Double);
    layer.forward(x).mul(g).sum().backward();
    var leaves = new LinkedHashMap<String, Tensor>();
    for (String name : List.of("one", "two")) {
      adapter(adapters, name).parameters().forEach((k, p) -> leaves.put(name + k, p));
    }
    leaves.put("x", x);
    var own = new LinkedHashMap<String, Tensor>();
    leaves.forEach((name, leaf) -> own.put(name, leaf.grad().clone()));
    leaves.values().forEach(leaf -> leaf.mutable_grad().zero_());

    Tensor bias = there(layer.bias());
    Tensor y = dense(layer, adapter(adapters, "one"), x).sub(bias);
    var second = (DoraLinear) adapter(adapters, "two");
    Tensor branch = x.matmul(second.a().t()).matmul(second.b().t()).mul(new Scalar(1.5));
    Tensor w = layer.weight().add(second.b().matmul(second.a()).mul(new Scalar(1.5))).detach();
    Tensor n =
        linalg_vector_norm(w, new Scalar(2), new long[] {1}, false, new ScalarTypeOptional());
    Tensor m = there(second.parameters().get("lora_magnitude_vector"));
    y.add(branch).mul(m.div(n)).add(bias).mul(g).sum().backward();

    own.forEach(
        (name, gradient) ->
            assertThat(gap(gradient, there(leaves.get(name)).grad())).as(name).isLessThan(1e-9));
  }

  @ParameterizedTest
  @EnumSource(names = {"LINEAR", "LINEAR_WITHOUT_BIAS", "CONV1D_OF_GPT2", "CONVOLUTION_2D"})
  void a_full_dropout_leaves_the_base_in_training_alone(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = on(layer);
    adapters.attach("one", config().dropout(1).build(), 3);
    train(adapters, "one", 11);
    Tensor x = kind.input(ScalarType.Float);

    adapters.model().train(true);
    Tensor training = layer.forward(x);
    adapters.model().train(false);
    Tensor evaluation = layer.forward(x);

    assertThat(gap(training, layer.base(x))).isLessThan(1e-5);
    assertThat(gap(evaluation, layer.base(x))).isGreaterThan(0.01);
  }

  @ParameterizedTest
  @EnumSource(names = {"LINEAR", "CONVOLUTION_1D"})
  void dropout_acts_on_the_branch_and_on_the_base_inside_the_correction(LayerKind kind) {
    // A layer fed with ones through a base that sees only the first input: what dropout leaves is
    // 0 or 2, so y - base takes just two values for each output.
    Adaptable layer = kind.layer(ScalarType.Float);
    try (var _ = new NoGradGuard()) {
      Tensor w = layer.weight().zero_();
      w.select(1, 0).fill_(new Scalar(1));
    }
    Adapters adapters = on(layer);
    adapters.attach("one", config().dropout(0.5).build(), 3);
    Tensor m = there(adapter(adapters, "one").parameters().get("lora_magnitude_vector"));
    try (var _ = new NoGradGuard()) {
      m.mul_(new Scalar(3));
    }
    Tensor x = kind.input(ScalarType.Float).fill_(new Scalar(1));
    Tensor base = layer.base(x);

    Tensor evaluation = layer.forward(x).sub(base);
    adapters.model().train(true);
    Tensor training = layer.forward(x).sub(base);

    if (kind == LayerKind.LINEAR) {
      Tensor ratio = training.div(evaluation);
      Tensor allowed =
          ratio
              .abs()
              .lt(new Scalar(1e-4))
              .logical_or(ratio.sub(new Scalar(2)).abs().lt(new Scalar(1e-4)));
      assertThat(allowed.all().item_bool()).isTrue();
    }
    assertThat(gap(training, evaluation)).isGreaterThan(0.1);
  }

  @ParameterizedTest
  @EnumSource
  void each_row_of_a_mixed_batch_is_as_if_it_ran_alone(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = trained(layer);
    LoraConfig plain = config().variant(new LoraVariant.Plain()).init(new LoraInit.Unset()).build();
    adapters.add("plain", plain, AttachOptions.seeded(6));
    Tensor x = kind.input(ScalarType.Float);
    Tensor one = layer.forward(x);
    adapters.setActive(List.of("plain"));
    Tensor other = layer.forward(x);

    Tensor mixed = adapters.mixed(List.of("plain", Rows.BASE, "one"), 3, () -> silent(layer, x));
    Tensor doraOnly = adapters.mixed(List.of("one", "one", Rows.BASE), 3, () -> silent(layer, x));

    assertThat(gap(mixed.select(0, 0), other.select(0, 0))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 1), layer.base(x).select(0, 1))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 2), one.select(0, 2))).isLessThan(1e-5);
    assertThat(gap(doraOnly.select(0, 0), one.select(0, 0))).isLessThan(1e-5);
    assertThat(gap(doraOnly.select(0, 2), layer.base(x).select(0, 2))).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource
  void what_evaluation_remembers_gives_the_same_bits_and_follows_every_change(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = trained(layer);
    Tensor x = kind.input(ScalarType.Float);
    Map<String, Tensor> saved = new LinkedHashMap<>();
    adapters.state("one").forEach((key, t) -> saved.put(key, t.detach().clone()));
    Tensor first = silent(layer, x);
    Tensor graph = layer.forward(x).detach();

    assertThat(silent(layer, x).equal(first)).isTrue();
    assertThat(graph.equal(first)).isTrue();
    train(adapters, "one", 21);
    Tensor moved = silent(layer, x);
    assertThat(moved.equal(layer.forward(x))).as("written in place").isTrue();
    assertThat(moved.equal(first)).isFalse();
    adapters.setState("one", saved, LoadOptions.defaults());
    assertThat(silent(layer, x).equal(first)).as("loaded").isTrue();
    try (var _ = adapters.rescaled(0.5)) {
      assertThat(silent(layer, x).equal(layer.forward(x))).as("rescaled").isTrue();
    }
    assertThat(silent(layer, x).equal(first)).as("scaled back").isTrue();
    layer.rebase(layer.weight().mul(new Scalar(2)));
    assertThat(silent(layer, x).equal(layer.forward(x))).as("another base").isTrue();
    assertThat(silent(layer, x).equal(first)).isFalse();
  }

  @Test
  void evaluation_measures_once() {
    Tensor m = new Tree.Draw(1).normal(6);
    var times = new int[1];
    try (var magnitude =
        new Magnitude(
            m,
            List.of(),
            () -> 1,
            () -> {
              times[0]++;
              return m.abs();
            })) {
      Tensor u = new Tree.Draw(2).normal(4, 6);

      Tensor one = magnitude.scale(u.clone(), false);
      Tensor two = magnitude.scale(u.clone(), false);
      int evaluation = times[0];
      Tensor three = magnitude.scale(u.clone(), true);
      Tensor four = magnitude.scale(u.clone(), true);

      assertThat(evaluation).isEqualTo(1);
      assertThat(times[0]).isEqualTo(3);
      assertThat(one.equal(two) && two.equal(three) && three.equal(four)).isTrue();
    }
  }

  @Test
  void a_magnitude_of_zero_still_learns() {
    var draw = new Tree.Draw(4);
    var layer = new Linear(draw.normal(6, 8), null);
    Adapters adapters = trained(layer);
    Tensor m = there(adapter(adapters, "one").parameters().get("lora_magnitude_vector"));
    try (var _ = new NoGradGuard()) {
      m.select(0, 2).zero_();
    }
    Tensor x = draw.normal(5, 8);

    Tensor y = layer.forward(x);
    y.sum().backward();
    Tensor own = m.grad().clone();
    m.mutable_grad().zero_();
    dense(layer, adapter(adapters, "one"), x).sum().backward();

    assertThat(y.select(1, 2).abs().max().item_double()).isLessThan(1e-15);
    assertThat(m.grad().select(0, 2).abs().item_double()).isGreaterThan(0.01);
    assertThat(gap(own, m.grad())).isLessThan(1e-4);
  }

  @Test
  void a_row_of_zeros_gives_zeros_and_not_nan() {
    Tensor w = new Tree.Draw(4).normal(6, 8);
    w.select(0, 1).zero_();
    var layer = new Linear(w, null);
    Adapters adapters = on(layer);
    adapters.attach("one", config().build(), 3);
    Tensor x = new Tree.Draw(5).normal(5, 8);

    Tensor y = layer.forward(x);
    y.sum().backward();

    assertThat(y.equal(layer.base(x))).isTrue();
    assertThat(adapter(adapters, "one").parameters().values())
        .allMatch(p -> p.grad().isfinite().all().item_bool());
  }

  @Test
  void a_trained_bias_of_the_base_gets_its_gradient() {
    var layer = (Linear) LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = on(layer);
    adapters.attach("one", config().bias(BiasTraining.ADAPTED).build(), 3);
    train(adapters, "one", 11);
    Tensor x = LayerKind.LINEAR.input(ScalarType.Float);

    layer.forward(x).sum().backward();

    assertThat(gap(there(layer.bias()).grad(), there(layer.bias()).detach().fill_(new Scalar(15))))
        .isLessThan(1e-4);
  }

  @Test
  void half_precision_is_near_to_float32() {
    for (LayerKind kind : LayerKind.values()) {
      Adaptable half = kind.layer(ScalarType.BFloat16);
      Adaptable full = kind.layer(ScalarType.Float);
      trained(half);
      trained(full);
      Tensor wide = full.forward(kind.input(ScalarType.Float));

      Tensor y = half.forward(kind.input(ScalarType.BFloat16));
      y.sum().backward();

      assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      assertThat(gap(y, wide) / wide.abs().max().item_double()).as(kind.name()).isLessThan(2e-2);
    }
  }

  @Test
  void files_of_older_writers_call_the_magnitude_a_weight() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = trained(layer);
    var old = new LinkedHashMap<String, Tensor>();
    adapters
        .state("one")
        .forEach((key, t) -> old.put(key.endsWith("magnitude_vector") ? key + ".weight" : key, t));
    Adaptable other = LayerKind.LINEAR.layer(ScalarType.Float);

    var result =
        on(other).load("one", config().build(), old, LoadOptions.defaults().withStrict(true));

    assertThat(old.keySet()).anyMatch(key -> key.endsWith("magnitude_vector.weight"));
    assertThat(result.unexpected()).isEmpty();
    Tensor x = LayerKind.LINEAR.input(ScalarType.Float);
    assertThat(other.forward(x).equal(layer.forward(x))).isTrue();
  }

  @Test
  void a_transposed_weight_keeps_its_layout_when_merged() {
    var layer = (TransposedLinear) LayerKind.CONV1D_OF_GPT2.layer(ScalarType.Float);
    Adapters adapters = trained(layer);

    adapters.merge(true);

    assertThat(layer.storedWeight().is_contiguous()).isTrue();
  }
}
