package espalier.adapters.hirasb;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.LayerKind;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hira.HiraInit;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
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
import org.junit.jupiter.params.provider.ValueSource;

class HiraSbTest {

  private static final HiraSbConfig CONFIG =
      HiraSbConfig.defaults().withR(2).withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(31);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Tensor wide(long... shape) {
    return draw.normal(shape).to(ScalarType.Double);
  }

  private static Init prepared(Tensor gradient) {
    return Init.shared(1).withPrepared(Map.of(HiraSbConfig.GRADIENT, gradient));
  }

  private static HiraSbAdapter made(HiraSbConfig config, Adaptable layer, Tensor gradient) {
    var adapter = (HiraSbAdapter) config.create(layer, "layer", prepared(gradient));
    adapter.to(layer.dtype());
    adapter.trainable(true);
    return adapter;
  }

  private static Tensor r(Adapter adapter) {
    return there(adapter.parameters().get(HiraSbAdapter.R));
  }

  private static Bases bases(Adapter adapter) {
    return new Bases(
        there(adapter.constants().get(HiraSbAdapter.B)).flatten(1, -1),
        there(adapter.constants().get(HiraSbAdapter.A)).flatten(1, -1));
  }

  private void fill(Adapter adapter) {
    try (var _ = new NoGradGuard()) {
      r(adapter).copy_(draw.normal(r(adapter).shape()).mul(new Scalar(0.2)));
    }
  }

  private static Adapters on(Adaptable layer) {
    return Tree.adapters(layer);
  }

  private static AttachOptions with(Tensor gradient) {
    return AttachOptions.of(
        InitSource.seeded(1)
            .withPrepared(Map.of("layer", Map.of(HiraSbConfig.GRADIENT, gradient))));
  }

  @Test
  void a_matched_additive_start_is_the_golden_step_along_the_first_singular_triplets() {
    // G = U diag(3, 2, 1) with U a rotation, so its first two triplets are its first two columns
    Tensor g =
        Tensor.create(new double[] {1.8, -1.6, 0, 2.4, 1.2, 0, 0, 0, 1}, 3, 3)
            .to(ScalarType.Double);
    HiraSbConfig config =
        CONFIG
            .withR(2)
            .withSpace(Space.ADDITIVE)
            .withStart(s -> s.withUpdateTarget(UpdateTarget.GRADIENT).withMatchStep(0.1));

    HiraSbAdapter anywhere = made(config, new Linear(wide(3, 3), null), g);
    HiraSbAdapter onOnes = made(config, new Linear(ones_like(g), null), g);

    Tensor golden =
        Tensor.create(new double[] {-0.18, 0.16, 0, -0.24, -0.12, 0, 0, 0, 0}, 3, 3)
            .to(ScalarType.Double);
    assertThat(gap(anywhere.deltaWeight(), golden)).isLessThan(1e-6);
    assertThat(gap(onOnes.deltaWeight(), golden)).isLessThan(1e-6);
    // K = 1 on weights of ones: the method with the weight in it is the same there
    HiraSbAdapter hadamard =
        made(
            config.withSpace(Space.HADAMARD).withStart(s -> s.withAlsSweeps(0)),
            new Linear(ones_like(g), null),
            g);
    assertThat(gap(hadamard.deltaWeight(), golden)).isLessThan(1e-6);
  }

  @ParameterizedTest
  @EnumSource(Space.class)
  void the_gradient_of_r_is_that_of_the_dense_formula(Space space) {
    var layer = new Linear(wide(6, 8), wide(6));
    HiraSbAdapter adapter = made(CONFIG.withSpace(space), layer, wide(6, 8));
    fill(adapter);
    Tensor x = wide(5, 8).set_requires_grad(true);
    Tensor g = wide(5, 6);

    adapter.first(x).mul(g).sum().backward();

    Tensor w = space == Space.ADDITIVE ? ones_like(layer.weight()) : layer.weight();
    Tensor full = g.t().mm(x);
    Tensor expected = bases(adapter).gradient(w, full).mul(new Scalar(adapter.s()));
    assertThat(gap(r(adapter).grad(), expected)).isLessThan(1e-10);
    assertThat(gap(x.grad(), g.mm(layer.weight().add(adapter.deltaWeight())))).isLessThan(1e-10);
    assertThat(adapter.constants().values()).noneMatch(Tensor::requires_grad);
  }

  @Test
  void r_squared_numbers_train_whatever_the_layer_is_like() {
    var layer = new Linear(draw.normal(30, 50), null);

    HiraSbAdapter adapter = made(CONFIG.withR(5), layer, draw.normal(30, 50));

    assertThat(adapter.parameters().values().stream().mapToLong(Tensor::numel).sum()).isEqualTo(25);
    assertThat(adapter.s()).isEqualTo(Math.sqrt(30 * 50) / 5);
    assertThat(made(CONFIG.withScale(2.5), layer, draw.normal(30, 50)).s()).isEqualTo(2.5);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void a_matched_start_is_the_projection_of_the_first_full_step(boolean precondition) {
    var layer = new Linear(wide(24, 18), null);
    Tensor g = wide(24, 18);
    double rate = 0.01;

    HiraSbAdapter adapter =
        made(
            CONFIG.withR(4).withPrecondition(precondition).withStart(s -> s.withMatchStep(rate)),
            layer,
            g);

    Bases bases = bases(adapter);
    Tensor w = layer.weight();
    Tensor x = Gram.of(w, bases, 0).solve(bases.gradient(w, g.sign()));
    Tensor projection = bases.update(w, x).mul(new Scalar(-rate));
    // the ridge of 1e-6 on K is what is seen
    assertThat(gap(adapter.deltaWeight(), projection)).isLessThan(1e-6 * rate * 100);
    assertThat(projection.abs().max().item_double()).isGreaterThan(0.1 * rate);
  }

  @Test
  void a_matched_start_beyond_rank_64_comes_from_conjugate_gradients() {
    var layer = new Linear(wide(90, 80), null);
    Tensor g = wide(90, 80);

    HiraSbAdapter adapter =
        made(CONFIG.withR(66).withStart(s -> s.withMatchStep(1).withAlsSweeps(0)), layer, g);

    Tensor left = g.sign().add(adapter.deltaWeight()); // of the step -D after the projection
    Tensor seen = bases(adapter).gradient(layer.weight(), left);
    Tensor before = bases(adapter).gradient(layer.weight(), g.sign());
    // twenty steps are taken, which leave 0.03 of it where the condition is as bad as here
    assertThat(seen.norm().item_double() / before.norm().item_double()).isLessThan(0.05);
  }

  /** Five steps of descent with momentum on ½‖xWᵀ - t‖², in plain or whitened coordinates. */
  private Tensor descended(boolean whitened, double momentum) {
    var layer = new Linear(new Tree.Draw(1).normal(12, 10).to(ScalarType.Double), null);
    Tensor x = new Tree.Draw(2).normal(20, 10).to(ScalarType.Double);
    Tensor t = new Tree.Draw(3).normal(20, 12).to(ScalarType.Double);
    Tensor start = new Tree.Draw(4).normal(12, 10).to(ScalarType.Double);
    HiraSbAdapter adapter = made(CONFIG.withR(3).withPrecondition(whitened), layer, start);
    var gram = Gram.of(layer.weight(), bases(adapter), Gram.RIDGE);
    double s2 = adapter.s() * adapter.s();
    Tensor velocity = r(adapter).detach().clone().zero_();
    for (int i = 0; i < 5; i++) {
      adapter.first(x).sub(t).square().sum().backward();
      try (var _ = new NoGradGuard()) {
        Tensor g = r(adapter).grad();
        Tensor step = whitened ? g : gram.solve(g).div(new Scalar(s2));
        velocity.mul_(new Scalar(momentum)).add_(step);
        r(adapter).sub_(velocity, new Scalar(1e-3));
        g.zero_();
      }
    }
    return adapter.deltaWeight();
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.9})
  void whitened_coordinates_descend_as_a_preconditioned_gradient_does(double momentum) {
    Tensor hook = descended(false, momentum);
    Tensor whitened = descended(true, momentum);

    assertThat(gap(whitened, hook)).isLessThan(1e-9);
    assertThat(hook.abs().max().item_double()).isGreaterThan(0.01);
  }

  @Test
  void without_the_weight_it_is_lora_sb_and_the_plain_step_is_the_projection() {
    var layer = new Linear(wide(12, 10), null);
    Tensor g = wide(12, 10);
    HiraSbAdapter adapter =
        made(
            CONFIG
                .withR(3)
                .withSpace(Space.ADDITIVE)
                .withStart(s -> s.withUpdateTarget(UpdateTarget.GRADIENT)),
            layer,
            g);
    Bases bases = bases(adapter);
    Tensor one = ones_like(g);

    Tensor plain = bases.update(one, bases.gradient(one, g));

    // the first three singular triplets, which is what LoRA-SB starts from
    var usv = org.bytedeco.pytorch.global.torch.linalg_svd(g);
    Tensor u = usv.get0().narrow(1, 0, 3);
    Tensor first = u.mm(u.t()).mm(g);
    Tensor ratio = plain.div(first);
    assertThat(gap(ratio, ratio.mean().expand_as(ratio))).isLessThan(1e-8);
    assertThat(gap(Gram.matrix(one, bases), Gram.matrix(one, bases).diagonal().diag()))
        .isLessThan(1e-12);
    fill(adapter);
    Tensor dense = bases.b().mm(r(adapter)).mm(bases.a()).mul(new Scalar(adapter.s()));
    assertThat(gap(adapter.deltaWeight(), dense)).isLessThan(1e-12);
  }

  @ParameterizedTest
  @EnumSource(Space.class)
  void dropout_acts_on_the_branch_in_training_only(Space space) {
    var layer = new Linear(wide(6, 8), wide(6));
    HiraSbAdapter adapter = made(CONFIG.withSpace(space).withDropout(0.5), layer, wide(6, 8));
    fill(adapter);
    Tensor x = wide(5, 8);

    adapter.train(true);
    RandomState.seed(4);
    Tensor dropped = adapter.first(x);
    RandomState.seed(4);
    Tensor kept = org.bytedeco.pytorch.global.torch.dropout(x, 0.5, true);
    adapter.train(false);

    Tensor expected = layer.base(x).add(kept.mm(adapter.deltaWeight().t()));
    assertThat(gap(dropped, expected)).isLessThan(1e-12);
    assertThat(gap(adapter.first(x), layer.base(x).add(x.mm(adapter.deltaWeight().t()))))
        .isLessThan(1e-12);
  }

  @Test
  void files_hold_r_in_plain_coordinates_and_asking_for_names_does_not_solve_for_it() {
    var layer = new Linear(wide(12, 10), null);
    HiraSbConfig config = CONFIG.withPrecondition(true);
    HiraSbAdapter adapter = made(config, layer, wide(12, 10));
    fill(adapter);

    Map<String, Tensor> saved = config.format().saved(adapter);

    Bases bases = bases(adapter);
    Tensor m = bases.b().mm(there(saved.get(HiraSbAdapter.R))).mm(bases.a());
    Tensor dense = m.mul(new Scalar(adapter.s())).mul(layer.weight());
    assertThat(gap(adapter.deltaWeight(), dense)).isLessThan(1e-12);
    assertThat(gap(r(adapter), there(saved.get(HiraSbAdapter.R)))).isGreaterThan(0.01);
    assertThat(config.format().savedNames(adapter)).isEqualTo(saved.keySet());
  }

  @Test
  void a_preconditioned_adapter_trains_on_where_its_file_left_it() {
    var layer = new Linear(wide(12, 10), null);
    HiraSbConfig config = CONFIG.withPrecondition(true);
    HiraSbAdapter adapter = made(config, layer, wide(12, 10));
    fill(adapter);

    var other = (HiraSbAdapter) config.create(layer, "layer", Init.blank());
    other.to(ScalarType.Double);
    other.load(config.format().saved(adapter));

    assertThat(gap(other.deltaWeight(), adapter.deltaWeight())).isLessThan(1e-12);
    assertThat(gap(r(other), r(adapter))).isLessThan(1e-12);
  }

  @Test
  void rounded_bases_halve_the_file_and_what_is_trained_is_what_is_saved() {
    Tensor weight = draw.normal(12, 10);
    Tensor x = draw.normal(4, 10);
    HiraSbConfig config =
        CONFIG.withPrecondition(true).withStart(s -> s.withBasisDtype(BasisDtype.BFLOAT16));
    Adaptable layer = new Linear(weight, null);
    Adapters adapters = on(layer);
    adapters.attach("one", config, with(draw.normal(12, 10)));
    fill(there(adapters.on("one").get("layer")));

    Map<String, Tensor> state = adapters.state("one");
    Adaptable again = new Linear(weight, null);
    on(again).load("two", config, state, LoadOptions.defaults());

    assertThat(there(state.get("base_model.model.layer.hirasb_A")).scalar_type().intern())
        .isEqualTo(ScalarType.BFloat16);
    assertThat(there(state.get("base_model.model.layer.hirasb_R")).scalar_type().intern())
        .isEqualTo(ScalarType.Float);
    // R goes through a triangular solve in float32
    assertThat(gap(again.forward(x), layer.forward(x))).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource(
      value = LayerKind.class,
      names = {"LINEAR", "CONV1D_OF_GPT2", "CONVOLUTION_1D", "CONVOLUTION_2D", "CONVOLUTION_3D"})
  void it_is_exported_as_an_adapter_of_hira_with_the_same_output(LayerKind kind) {
    sameAsExported(kind, CONFIG.withPrecondition(true), "HIRA", HiraConfig.class);
  }

  @ParameterizedTest
  @EnumSource(
      value = LayerKind.class,
      names = {"LINEAR", "CONV1D_OF_GPT2", "CONVOLUTION_1D", "CONVOLUTION_2D", "CONVOLUTION_3D"})
  void without_the_weight_it_is_exported_as_lora(LayerKind kind) {
    HiraSbConfig config =
        CONFIG.withSpace(Space.ADDITIVE).withR(3).withRankPattern(Map.of("layer", 2));

    sameAsExported(kind, config, "LORA", LoraConfig.class);
  }

  private void sameAsExported(
      LayerKind kind, HiraSbConfig config, String method, Class<? extends AdapterConfig> expected) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = on(layer);
    adapters.attach("one", config, with(kind.gradient()));
    fill(there(adapters.on("one").get("layer")));
    Tensor x = kind.input(ScalarType.Float);

    AdapterContents contents = adapters.config("one").exportedAs(method, adapters.state("one"));
    Adaptable other = kind.layer(ScalarType.Float);
    var result =
        on(other).load("two", contents.config(), contents.tensors(), LoadOptions.defaults());

    assertThat(contents.config()).isInstanceOf(expected);
    assertThat(result.missing()).isEmpty();
    assertThat(result.unexpected()).isEmpty();
    assertThat(gap(layer.forward(x), layer.base(x))).isGreaterThan(0.01);
    assertThat(gap(other.forward(x), layer.forward(x))).isLessThan(2e-5);
  }

  @Test
  void exported_as_hira_all_layers_have_one_rank_because_other_readers_know_no_other() {
    Tree tree =
        Tree.empty()
            .with("layer", new Linear(draw.normal(6, 8), null))
            .with("small", new Linear(draw.normal(6, 8), null));
    HiraSbConfig config =
        CONFIG
            .withR(3)
            .withRankPattern(Map.of("small", 2))
            .withTargets(Targets.named("layer", "small"));
    var adapters = Adapters.of(tree, ModelFacts.of("llama"));
    Map<String, Tensor> gradient = Map.of(HiraSbConfig.GRADIENT, draw.normal(6, 8));
    adapters.attach(
        "one",
        config,
        AttachOptions.of(
            InitSource.seeded(1).withPrepared(Map.of("layer", gradient, "small", gradient))));
    Adapter small = there(adapters.on("one").get("small"));
    fill(small);

    AdapterContents contents = config.exportedAs("HIRA", adapters.state("one"));

    assertThat(((HiraConfig) contents.config()).r()).isEqualTo(3);
    assertThat(((HiraConfig) contents.config()).rankPattern().isEmpty()).isTrue();
    Tensor a = there(contents.tensors().get("base_model.model.small.hira_A"));
    Tensor b = there(contents.tensors().get("base_model.model.small.hira_B"));
    assertThat(a.shape()).containsExactly(3, 8);
    assertThat(b.shape()).containsExactly(6, 3);
    assertThat(gap(b.mm(a), ((HiraSbAdapter) small).modulation())).isLessThan(1e-5);
  }

  @Test
  void it_is_exported_as_nothing_else() {
    assertThatThrownBy(() -> CONFIG.exportedAs("LORA", Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "HIRA_SB can not be exported as LORA; with space hadamard it is an adapter of HIRA");
    assertThatThrownBy(() -> HiraConfig.defaults().exportedAs("LORA", Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessage("HIRA can not be exported as LORA; it is saved in a form of its own only");
  }

  @Test
  void adapters_in_the_same_bases_are_combined_by_adding_r() {
    Adaptable layer = new Linear(draw.normal(6, 8), null);
    Tensor gradient = draw.normal(6, 8);
    Adapters adapters = on(layer);
    adapters.attach("one", CONFIG, with(gradient));
    adapters.add("two", CONFIG, with(gradient));
    fill(there(adapters.on("one").get("layer")));
    fill(there(adapters.on("two").get("layer")));

    AdapterContents sum = HiraSbCombination.inSameBases(sources(adapters));

    sameAsWeighted(adapters, layer, sum);
    assertThat(sum.config()).isInstanceOf(HiraSbConfig.class);
  }

  @Test
  void adapters_in_other_bases_are_combined_as_hira_with_their_ranks_together() {
    Adaptable layer = new Linear(draw.normal(6, 8), null);
    Adapters adapters = on(layer);
    adapters.attach("one", CONFIG, with(draw.normal(6, 8)));
    adapters.add("two", CONFIG.withR(3), with(draw.normal(6, 8)));
    fill(there(adapters.on("one").get("layer")));
    fill(there(adapters.on("two").get("layer")));

    AdapterContents sum = HiraSbCombination.asHira(sources(adapters));

    assertThat(((HiraConfig) sum.config()).r()).isEqualTo(5);
    sameAsWeighted(adapters, layer, sum);
    assertThatThrownBy(() -> HiraSbCombination.inSameBases(sources(adapters)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("differs between the adapters but R is added only in the same bases");
  }

  private static List<HiraSbCombination.Source> sources(Adapters adapters) {
    return List.of(source(adapters, "one", 0.7), source(adapters, "two", -2));
  }

  private static HiraSbCombination.Source source(Adapters adapters, String name, double weight) {
    return new HiraSbCombination.Source(
        (HiraSbConfig) adapters.config(name), adapters.state(name), weight);
  }

  private void sameAsWeighted(Adapters adapters, Adaptable layer, AdapterContents sum) {
    Tensor one = there(adapters.on("one").get("layer")).deltaWeight();
    Tensor two = there(adapters.on("two").get("layer")).deltaWeight();
    Adaptable other = new Linear(layer.weight(), null);
    Adapters loaded = on(other);
    loaded.load("sum", sum.config(), sum.tensors(), LoadOptions.defaults());

    Tensor delta = there(loaded.on("sum").get("layer")).deltaWeight();

    Tensor expected = one.mul(new Scalar(0.7)).add(two, new Scalar(-2));
    assertThat(gap(delta, expected)).isLessThan(1e-5);
    assertThat(expected.abs().max().item_double()).isGreaterThan(0.1);
  }

  @Test
  void hira_and_lora_on_one_layer_add() {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    Adapters adapters = on(layer).allowMixedMethods();
    var hira = HiraConfig.defaults().withR(2).withInit(HiraInit.UNSET);
    adapters.attach("hira", hira.withTargets(Targets.named("layer")), AttachOptions.seeded(1));
    var lora = LoraConfig.builder().r(2).alpha(4).targets(Targets.named("layer")).build();
    adapters.add("lora", lora, AttachOptions.seeded(2));
    try (var _ = new NoGradGuard()) {
      there(adapters.on("lora").get("layer"))
          .parameters()
          .values()
          .forEach(p -> p.copy_(draw.normal(p.shape())));
    }
    adapters.setActive(List.of("hira", "lora"));
    Tensor x = draw.normal(5, 8);

    Tensor y = layer.forward(x);

    Tensor both =
        there(adapters.on("hira").get("layer"))
            .deltaWeight()
            .add(there(adapters.on("lora").get("layer")).deltaWeight());
    assertThat(gap(y, layer.base(x).add(x.mm(both.t())))).isLessThan(5e-5);
    adapters.merge(List.of("hira", "lora"), true);
    assertThat(gap(layer.forward(x), y)).isLessThan(5e-5);
  }

  @Test
  void a_gradient_that_says_nothing_gives_random_bases_and_a_warning() {
    Adaptable layer = new Linear(draw.normal(6, 8), null);

    List<String> warnings =
        on(layer).attach("one", CONFIG, with(draw.normal(6, 8).zero_())).warnings();

    assertThat(warnings)
        .contains(
            "layer: the gradient, or its product with the weight, is zero everywhere, so the bases"
                + " are random");
    Adapter adapter = there(layer.adapters().find("one"));
    fill(adapter);
    assertThat(gap(layer.forward(draw.normal(1, 8)), layer.forward(draw.normal(1, 8))))
        .isPositive();
    assertThat(adapter.deltaWeight().abs().max().item_double()).isGreaterThan(0.01);
  }

  @Test
  void a_weight_of_zeros_gets_random_bases_too() {
    Adaptable layer = new Linear(draw.normal(6, 8).zero_(), null);

    HiraSbAdapter adapter = made(CONFIG.withPrecondition(true), layer, draw.normal(6, 8));

    assertThat(adapter.random()).isTrue();
    assertThat(bases(adapter).b().isfinite().all().item_bool()).isTrue();
    assertThat(adapter.plainR().isfinite().all().item_bool()).isTrue();
  }

  @Test
  void the_gradient_as_target_without_the_preconditioner_is_warned_about() {
    HiraSbConfig config = CONFIG.withStart(s -> s.withUpdateTarget(UpdateTarget.GRADIENT));
    String warning =
        "layer: update_target is gradient without precondition, so the steps of R stray far from"
            + " the gradient";

    assertThat(attached(config)).contains(warning);
    assertThat(attached(config.withPrecondition(true))).doesNotContain(warning);
    assertThat(attached(CONFIG)).doesNotContain(warning);
  }

  private List<String> attached(HiraSbConfig config) {
    return on(new Linear(draw.normal(6, 8), null))
        .attach("one", config, with(draw.normal(6, 8)))
        .warnings();
  }

  @Test
  void a_missing_a_misshapen_and_an_infinite_gradient_are_refused_by_path() {
    var layer = new Linear(draw.normal(6, 8), null);

    assertThatThrownBy(() -> CONFIG.create(layer, "a.b", Init.shared(1)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "a.b has no gradient but HiRA-SB takes its bases from one; attach with what"
                + " HiraSbCalibration.run prepares, or with InitSource.withPrepared(path ->"
                + " {gradient: [6, 8]})");
    assertThatThrownBy(() -> CONFIG.create(layer, "a.b", prepared(draw.normal(8, 6))))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "the gradient of a.b is [8, 6] but its weight is [6, 8]; give the gradient of the"
                + " weight as [out, in]");
    Tensor infinite = draw.normal(6, 8).div(new Scalar(0));
    assertThatThrownBy(() -> CONFIG.create(layer, "a.b", prepared(infinite)))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith("the gradient of a.b has NaN or infinite entries");
  }

  @Test
  void layers_that_it_does_not_adapt_and_ranks_beyond_the_weight_are_refused() {
    assertThatThrownBy(() -> CONFIG.create(new Embedding(draw.normal(9, 4)), "e", Init.shared(1)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("rows of an embedding that calibration did not see");
    var grouped =
        new Convolution(
            draw.normal(4, 2, 3),
            null,
            new Convolution.Geometry(new long[] {1}, new long[] {0}, new long[] {1}, 2, "zeros"));
    assertThatThrownBy(() -> CONFIG.create(grouped, "c", Init.shared(1)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage("c is a Conv1d in 2 groups but HiRA-SB needs one group; leave it out");
    assertThatThrownBy(
            () ->
                CONFIG
                    .withR(7)
                    .create(new Linear(draw.normal(6, 8), null), "l", prepared(draw.normal(6, 8))))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "r is 7 for l but its weight of 6 × 8 allows 1 to 6; lower r, or give the layer a rank"
                + " of its own in rank_pattern");
  }

  @Test
  void a_rank_by_path_is_honoured() {
    HiraSbConfig config = CONFIG.withR(7).withRankPattern(Map.of("layer", 3));

    HiraSbAdapter adapter = made(config, new Linear(draw.normal(6, 8), null), draw.normal(6, 8));

    assertThat(r(adapter).shape()).containsExactly(3, 3);
    assertThat(adapter.s()).isEqualTo(Math.sqrt(48) / 3);
  }

  @Test
  void one_seed_gives_one_start() {
    var layer = new Linear(draw.normal(60, 64), null);
    Tensor g = draw.normal(60, 64);

    Bases one = bases(made(CONFIG, layer, g));
    Bases two = bases(made(CONFIG, layer, g));

    assertThat(one.a().equal(two.a()) && one.b().equal(two.b())).isTrue();
  }
}
