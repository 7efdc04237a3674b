package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.embedding_renorm_;
import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ExpertKeys;
import espalier.adapters.MergeOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.LookupOptions;
import espalier.nn.RmsNorm;
import espalier.nn.Rows;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LoraTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder unset() {
    return LoraConfig.builder().r(2).alpha(3).init(new LoraInit.Unset());
  }

  @Test
  void gradients_are_those_of_the_paper() {
    var layer = new Linear(draw.normal(6, 8), null);
    var lora = (LoraLinear) unset().build().create(layer, "l", Init.shared(1));
    lora.trainable(true);
    Tensor x = draw.normal(5, 8).set_requires_grad(true);
    Tensor g = draw.normal(5, 6);

    lora.first(x).mul(g).sum().backward();

    var s = new Scalar(1.5);
    assertThat(gap(lora.b().grad(), g.t().matmul(x.matmul(lora.a().t())).mul(s))).isLessThan(1e-4);
    assertThat(gap(lora.a().grad(), g.matmul(lora.b()).t().matmul(x).mul(s))).isLessThan(1e-4);
    assertThat(gap(x.grad(), g.matmul(layer.weight().add(lora.deltaWeight())))).isLessThan(1e-4);
  }

  @Test
  void a_gaussian_start_spreads_by_the_rank_of_one_expert() {
    var layer = new ExpertWeight(draw.normal(16, 6, 200), false);
    LoraConfig config = LoraConfig.builder().r(4).init(new LoraInit.Gaussian()).build();

    var lora = (LoraExperts) config.create(layer, "m.experts", Init.shared(1));

    double deviation = there(lora.parameters().get("lora_A.weight")).std().item_double();
    assertThat(deviation).isCloseTo(1.0 / 4, within(0.01)); // 64 * 200 draws
  }

  @Test
  void at_birth_only_b_has_a_gradient() {
    var layer = new Linear(draw.normal(6, 8), null);
    var lora = (LoraLinear) LoraConfig.defaults().create(layer, "l", Init.shared(1));
    lora.trainable(true);

    lora.first(draw.normal(5, 8)).sum().backward();

    assertThat(lora.a().grad().abs().max().item_double()).isZero();
    assertThat(lora.b().grad().abs().max().item_double()).isPositive();
  }

  @Test
  void what_was_given_is_never_written_to() {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    var lora = (LoraLinear) unset().loraBias(true).build().create(layer, "l", Init.shared(1));
    Tensor x = draw.normal(2, 5, 8);
    Tensor y = draw.normal(2, 5, 6);
    Tensor keptX = x.clone();
    Tensor keptY = y.clone();
    Tensor keptBias = there(layer.bias()).clone();

    Tensor sum = lora.forward(x, y);
    Tensor first = lora.first(x);

    assertThat(x.equal(keptX) && y.equal(keptY) && there(layer.bias()).equal(keptBias)).isTrue();
    assertThat(gap(sum.sub(y), first.sub(layer.base(x)))).isLessThan(1e-5);
  }

  @Test
  void dropout_acts_on_the_branch_in_training_only() {
    var layer = new Linear(draw.normal(6, 8), null);
    var lora = unset().dropout(1).build().create(layer, "l", Init.shared(1));
    Tensor x = draw.normal(5, 8);

    lora.train(true);
    boolean baseAlone = lora.first(x).equal(layer.base(x));
    lora.train(false);

    assertThat(baseAlone).isTrue();
    assertThat(gap(lora.first(x), layer.base(x))).isGreaterThan(0.01);
  }

  @Test
  void dropout_drops_its_part_of_the_inputs_and_scales_up_the_rest() {
    int width = 64;
    double p = 0.3;
    var layer = new Linear(torch.zeros(width, width), null);
    var lora = unset().r(width).alpha(width).dropout(p).build().create(layer, "l", Init.shared(1));
    Tensor identity = torch.eye(width);
    lora.load(Map.of("lora_A.weight", identity, "lora_B.weight", identity));
    Tensor x = torch.ones(500, width);

    lora.train(true);
    Tensor dropped = lora.first(x); // what the branch sees of x
    lora.train(false);
    Tensor whole = lora.first(x);

    double kept = dropped.count_nonzero().item_long() / (double) dropped.numel();
    // five standard deviations of 32000 draws
    assertThat(kept).isCloseTo(1 - p, within(5 * Math.sqrt(p * (1 - p) / dropped.numel())));
    assertThat(dropped.max().item_double()).isCloseTo(1 / (1 - p), within(1e-5));
    Tensor scaled = dropped.gt(new Scalar(0)).to(ScalarType.Float).mul(new Scalar(1 / (1 - p)));
    assertThat(gap(dropped, scaled)).isLessThan(1e-5);
    assertThat(whole.equal(x)).isTrue();
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void dropout_draws_as_libtorch_does_and_has_the_gradients_of_its_formula(boolean biased) {
    double p = 0.4;
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    var lora =
        (LoraLinear) unset().dropout(p).loraBias(biased).build().create(layer, "l", Init.shared(1));
    Tensor x = draw.normal(5, 8).set_requires_grad(true);
    Tensor g = draw.normal(5, 6);
    lora.parameters().values().forEach(parameter -> parameter.set_requires_grad(true));
    lora.train(true);

    torch.manual_seed(3);
    Tensor seen = torch.dropout(x, p, true);
    Tensor branch = seen.mm(lora.a().t()).mm(lora.b().t());
    Tensor bias = lora.bias();
    Tensor whole = bias == null ? branch : branch.add(bias);
    Tensor want = layer.base(x).add(whole.mul(new Scalar(lora.scaling())));
    want.mul(g).sum().backward();
    Map<String, Tensor> wanted = gradients(x, lora);
    torch.manual_seed(3);
    Tensor got = lora.first(x);
    got.mul(g).sum().backward();
    Map<String, Tensor> found = gradients(x, lora);

    assertThat(gap(got, want)).isLessThan(1e-5);
    assertThat(found.keySet()).isEqualTo(wanted.keySet());
    found.forEach(
        (name, tensor) -> assertThat(gap(tensor, there(wanted.get(name)))).isLessThan(1e-4));
  }

  private static Map<String, Tensor> gradients(Tensor x, Adapter lora) {
    var all = new LinkedHashMap<String, Tensor>();
    all.put("x", x.grad().clone());
    x.mutable_grad().reset();
    lora.parameters()
        .forEach(
            (name, parameter) -> {
              all.put(name, parameter.grad().clone());
              parameter.mutable_grad().reset();
            });
    return all;
  }

  @Test
  void on_an_embedding_with_a_largest_norm_the_rows_of_a_are_no_longer_than_it() {
    Tensor ids = Tensor.create(new long[] {3, 3, 0, 8}, 4);
    var options = LookupOptions.padded(-1).withMaxNorm(0.5, 2);
    var embedding = new Embedding(draw.normal(9, 5), options, 1);
    var lora = (LoraEmbedding) unset().build().create(embedding, "e", Init.shared(1));
    Tensor rowsOfA = embedding_renorm_(lora.a().detach().t().clone(), ids, 0.5, 2);

    Tensor y = lora.first(ids);

    Tensor branch = torch.embedding(rowsOfA, ids).matmul(lora.b().t()).mul(new Scalar(1.5));
    assertThat(gap(y, embedding.base(ids).add(branch))).isLessThan(1e-5);
    assertThat(gap(torch.embedding(lora.deltaWeight(), ids), branch)).isLessThan(1e-5);
    assertThat(branch.abs().sum().item_double()).isPositive();
  }

  @Test
  void on_an_embedding_with_a_largest_norm_merging_is_refused_and_changes_nothing() {
    var options = LookupOptions.padded(-1).withMaxNorm(0.5, 2);
    var embedding = new Embedding(draw.normal(9, 5), options, 1);
    var adapters = Adapters.of(Tree.empty().with("e", embedding), ModelFacts.of("llama"));
    adapters.attach("one", unset().targets(Targets.named("e")).build(), 1);
    Tensor before = embedding.weight().clone();

    assertThatThrownBy(() -> adapters.merge(List.of("one"), MergeOptions.defaults()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("scales rows down to max_norm 0.5");

    assertThat(embedding.weight().equal(before)).isTrue();
  }

  @Test
  void on_an_embedding_dropout_does_nothing_and_is_told_of() {
    var embedding = new Embedding(draw.normal(9, 8));
    var adapters = Adapters.of(Tree.empty().with("e", embedding), ModelFacts.of("llama"));

    var attached =
        adapters.attach("one", unset().dropout(1).targets(Targets.named("e")).build(), 1);

    Tensor ids = Tensor.create(new long[] {1, 5}, 1, 2);
    embedding.train(true);
    Tensor training = embedding.forward(ids);
    embedding.train(false);
    assertThat(training.equal(embedding.forward(ids))).isTrue();
    assertThat(gap(training, embedding.base(ids))).isGreaterThan(0.01);
    assertThat(attached.warnings())
        .containsExactly("e: lora_dropout has no effect on an embedding");
  }

  @Test
  void a_bias_on_b_is_scaled_merged_and_unmerged() {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    var adapters = Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));
    adapters.attach("default", unset().loraBias(true).targets(Targets.named("l")).build(), 1);
    Tensor x = draw.normal(5, 8);
    Tensor before = there(layer.bias()).clone();
    Tensor branch = layer.forward(x);

    adapters.merge(true);

    assertThat(gap(layer.forward(x), branch)).isLessThan(1e-5);
    assertThat(gap(there(layer.bias()), before)).isGreaterThan(0.01);
    adapters.unmerge();
    assertThat(there(layer.bias()).equal(before)).isTrue();
  }

  @Test
  void a_bias_on_b_without_a_bias_below_works_and_can_not_be_merged() {
    var layer = new Linear(draw.normal(6, 8), null);
    var adapters = Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));

    var attached =
        adapters.attach("default", unset().loraBias(true).targets(Targets.named("l")).build(), 1);

    assertThat(attached.warnings())
        .contains(
            "l: lora_bias is set but the layer has no bias, so the adapter can not be merged");
    assertThatThrownBy(() -> adapters.merge(false))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(
            "default at l: lora_bias can not be merged into a layer without a bias; keep the"
                + " adapter beside the base, or train without lora_bias");
    assertThat(adapters.merged()).isEmpty();
  }

  @Test
  void rows_of_a_batch_go_through_adapters_of_different_ranks_and_biases() {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    var adapters = Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));
    LoraConfigBuilder config = unset().targets(Targets.named("l"));
    adapters.attach("a2", config.build(), 1);
    adapters.add("b3", config.r(3).loraBias(true).build(), AttachOptions.seeded(2));
    adapters.add("c1", config.r(1).loraBias(false).build(), AttachOptions.seeded(3));
    Tensor x = draw.normal(6, 4, 8);
    List<String> names = List.of("c1", Rows.BASE, "b3", "a2", "b3", "c1");
    var alone = new LinkedHashMap<String, Tensor>();
    for (String name : List.of("a2", "b3", "c1")) {
      adapters.setActive(List.of(name));
      alone.put(name, layer.forward(x));
    }
    alone.put(Rows.BASE, layer.base(x));

    Tensor mixed = adapters.mixed(names, 6, () -> layer.forward(x));

    for (int row = 0; row < names.size(); row++) {
      Tensor expected = there(alone.get(names.get(row))).select(0, row);
      assertThat(gap(mixed.select(0, row), expected)).as("row " + row).isLessThan(1e-5);
    }
  }

  @Test
  void rows_of_a_batch_follow_their_adapters_when_those_change() {
    var layer = new Linear(draw.normal(6, 8), null);
    var adapters = Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));
    LoraConfigBuilder config = unset().targets(Targets.named("l"));
    adapters.attach("a", config.build(), 1);
    adapters.add("b", config.build(), AttachOptions.seeded(2));
    Tensor x = draw.normal(2, 4, 8);
    List<String> names = List.of("a", "b");
    Tensor before = adapters.mixed(names, 2, () -> layer.forward(x)).clone();

    try (var _ = new NoGradGuard()) {
      there(there(adapters.on("b").get("l")).state().get("lora_B.weight")).mul_(new Scalar(2));
    }
    Tensor written = adapters.mixed(names, 2, () -> layer.forward(x)).clone();
    adapters.setScale("b", 0);
    Tensor silent = adapters.mixed(names, 2, () -> layer.forward(x));

    Tensor base = layer.base(x).select(0, 1);
    Tensor gain = before.select(0, 1).sub(base);
    assertThat(gap(written.select(0, 1), base.add(gain).add(gain))).isLessThan(1e-5);
    assertThat(gap(silent.select(0, 1), base)).isLessThan(1e-6);
    assertThat(gap(silent.select(0, 0), before.select(0, 0))).isLessThan(1e-6);
  }

  @Test
  void experts_use_rows_of_a_by_expert_and_columns_of_b_by_rank() {
    var layer = new ExpertWeight(draw.normal(3, 6, 5), false);
    var lora = unset().build().create(layer, "m.experts", Init.shared(1));
    Tensor a = there(lora.state().get("lora_A.weight")); // [3·2, 5]
    Tensor b = there(lora.state().get("lora_B.weight")); // [6, 2·3]

    Tensor delta = lora.deltaWeight();

    for (int e = 0; e < 3; e++) {
      Tensor ofA = a.narrow(0, 2L * e, 2);
      var columns = new TensorVector();
      columns.push_back(b.select(1, e));
      columns.push_back(b.select(1, 3 + e));
      Tensor ofB = stack(columns, 1);
      assertThat(gap(delta.select(0, e), ofB.matmul(ofA).mul(new Scalar(1.5)))).isLessThan(1e-5);
    }
  }

  @Test
  void one_expert_alone_gives_what_all_give_together() {
    for (boolean transposed : new boolean[] {false, true}) {
      Tensor w = transposed ? draw.normal(3, 5, 6) : draw.normal(3, 6, 5);
      var layer = new ExpertWeight(w, transposed);
      var adapters = Adapters.of(Tree.empty().with("m.w", layer), ModelFacts.of("llama"));
      Targets targets = Targets.named().withParameters(List.of("m.w"));
      adapters.attach("a", unset().targets(targets).build(), 1);
      adapters.add("b", unset().r(3).targets(targets).build(), AttachOptions.seeded(2));
      adapters.setActive(List.of("a", "b"));
      Tensor x = draw.normal(3, 4, 5);

      Tensor all = layer.forward(x);
      adapters.merge(true);
      Tensor merged = layer.forward(x);
      adapters.unmerge();

      assertThat(gap(all, merged)).isLessThan(1e-4);
      for (int e = 0; e < 3; e++) {
        assertThat(gap(layer.forward(x.select(0, e), e), all.select(0, e))).isLessThan(1e-4);
      }
    }
  }

  @Test
  void keys_of_stacked_parameters_count_the_wraps_of_the_reference() {
    var layers = new LinkedHashMap<String, Adaptable>();
    layers.put("m.q", new Linear(draw.normal(2, 2), null));
    layers.put("m.experts.gate_up_proj", new ExpertWeight(draw.normal(2, 2, 2), false));
    layers.put("m.experts.down_proj", new ExpertWeight(draw.normal(2, 2, 2), false));

    assertThat(ExpertKeys.prefixes(layers))
        .containsExactly(
            Map.entry("m.q", "m.q"),
            Map.entry("m.experts.gate_up_proj", "m.experts.base_layer"),
            Map.entry("m.experts.down_proj", "m.experts"));
  }

  @Test
  void rows_of_a_batch_can_not_differ_on_a_stacked_parameter() {
    var layer = new ExpertWeight(draw.normal(3, 6, 5), false);
    var adapters = Adapters.of(Tree.empty().with("m.w", layer), ModelFacts.of("llama"));
    adapters.attach(
        "a", unset().targets(Targets.named().withParameters(List.of("m.w"))).build(), 1);

    assertThatThrownBy(() -> adapters.mixed(List.of("a"), 1, () -> "never"))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "a at m.w: rows of one batch can not have different adapters on a stacked parameter;"
                + " run one batch an adapter");
  }

  @Test
  void merging_rounds_once() {
    var layer = new Linear(draw.normal(6, 8).to(ScalarType.BFloat16), null);
    Adapter lora = unset().build().create(layer, "l", Init.shared(1));

    Tensor merged = lora.mergedInto(layer.weight());

    Tensor expected = layer.weight().to(ScalarType.Float).add(lora.deltaWeight());
    Tensor ulp = expected.abs().mul(new Scalar(Math.pow(2, -8)));
    assertThat(merged.to(ScalarType.Float).sub(expected).abs().le(ulp).all().item_bool()).isTrue();
  }

  @Test
  void settings_that_do_not_exist_for_a_layer_are_refused_by_name_path_and_kind() {
    var embedding = new Embedding(draw.normal(4, 4));
    var norm = new RmsNorm(draw.normal(4), 1e-6);
    var expert = new ExpertWeight(draw.normal(2, 4, 4), false);
    var grouped =
        new Convolution(
            draw.normal(8, 2, 3),
            null,
            new Convolution.Geometry(new long[] {1}, new long[] {0}, new long[] {1}, 2, "zeros"));

    assertThatThrownBy(() -> LoraConfig.defaults().create(norm, "n", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "n is a RmsNorm but LoRA adapts Linear, Conv1D, Embedding, Conv1d, Conv2d, Conv3d,"
                + " MultiheadAttention and stacked parameters; take it out of target_modules");
    assertThatThrownBy(() -> unset().loraBias(true).build().create(embedding, "e", Init.blank()))
        .hasMessage(
            "e is a Embedding, for which lora_bias does not exist; leave the embedding out or turn"
                + " the bias off");
    assertThatThrownBy(() -> unset().dropout(0.1).build().create(expert, "p", Init.blank()))
        .hasMessage(
            "p is a Parameter, for which lora_dropout does not exist; set it to 0 with"
                + " target_parameters");
    assertThatThrownBy(() -> unset().r(3).build().create(grouped, "c", Init.blank()))
        .hasMessage("c has 2 groups but r is 3; a rank divisible by 2 is needed");
  }

  @Test
  void a_convolution_in_groups_is_adapted_and_not_merged() {
    var grouped =
        new Convolution(
            draw.normal(8, 2, 3),
            null,
            new Convolution.Geometry(new long[] {1}, new long[] {1}, new long[] {1}, 2, "zeros"));
    var adapters = Adapters.of(Tree.empty().with("c", grouped), ModelFacts.of("llama"));
    adapters.attach("default", unset().targets(Targets.named("c")).build(), 1);

    try (var _ = new NoGradGuard()) {
      Tensor x = draw.normal(2, 4, 9);
      assertThat(gap(grouped.forward(x), grouped.base(x))).isGreaterThan(0.01);
    }
    assertThatThrownBy(() -> adapters.merge(true))
        .hasMessage(
            "default at c: A mixes the groups of the convolution, so no kernel in groups can hold"
                + " the sum");
  }
}
