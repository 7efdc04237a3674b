package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.eye;

import espalier.adapters.AdapterContents;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Starts that look at the weight, by what must hold of them. */
class StartsTest {

  private static final LoraInit LOFTQ = new LoraInit.Loftq(4, 2);

  private final Tree.Draw draw = new Tree.Draw(9);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  static Stream<LoraInit> takenOut() {
    return Stream.of(new LoraInit.Pissa(), new LoraInit.FastPissa(3), new LoraInit.Olora());
  }

  private record On(Linear layer, Adapters adapters) {
    LoraLinear lora() {
      return (LoraLinear) there(layer.adapters().find("one"));
    }
  }

  private static LoraConfigBuilder config(LoraInit init) {
    return LoraConfig.builder().r(4).alpha(6).init(init).targets(Targets.named("l"));
  }

  private static Adapters on(Linear layer) {
    return Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));
  }

  private static On attached(LoraConfig config, Linear layer) {
    Adapters adapters = on(layer);
    adapters.attach("one", config, 3);
    return new On(layer, adapters);
  }

  private static double gap(Tensor a, Tensor b) {
    return a.to(ScalarType.Float).sub(b.to(ScalarType.Float)).abs().max().item_double();
  }

  private static double norm(Tensor t) {
    return t.square().sum().sqrt().item_double();
  }

  private void train(LoraLinear lora) {
    try (var _ = new NoGradGuard()) {
      lora.a().add_(draw.normal(lora.a().shape()).mul(new Scalar(0.1)));
      lora.b().add_(draw.normal(lora.b().shape()).mul(new Scalar(0.1)));
    }
  }

  private static Map<String, Tensor> copied(Map<String, Tensor> tensors) {
    var copies = new LinkedHashMap<String, Tensor>();
    tensors.forEach((key, tensor) -> copies.put(key, tensor.clone()));
    return copies;
  }

  @ParameterizedTest
  @MethodSource("takenOut")
  void residual_and_factors_are_the_weight_in_any_storage_rank_and_scaling(LoraInit init) {
    for (LoraConfig config :
        List.of(
            config(init).build(),
            config(init).r(3).rslora(true).build(),
            config(init).r(9).build(), // above the smaller side
            config(init).rankPattern(Map.of("l", 5)).alphaPattern(Map.of("l", 2.0)).build())) {
      for (boolean transposed : new boolean[] {false, true}) {
        Tensor w = draw.normal(6, 8);
        Linear layer =
            transposed ? new TransposedLinear(w.t().contiguous(), null) : new Linear(w, null);
        Tensor x = draw.normal(5, 8);
        Tensor before = layer.base(x);

        On on = attached(config, layer);

        Tensor sum = layer.weight().add(on.lora().deltaWeight());
        assertThat(gap(sum, w)).isLessThan(1e-5);
        assertThat(gap(layer.forward(x), before)).isLessThan(1e-4);
        assertThat(gap(layer.weight(), w)).isGreaterThan(0.01);
        assertThat(layer.storedWeight().is_contiguous()).isTrue();
        assertThat(on.lora().a().shape()).containsExactly(config.rankAt("l"), 8);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("takenOut")
  void a_residual_in_half_precision_is_rounded_once(LoraInit init) {
    Tensor w = draw.normal(6, 8).to(ScalarType.BFloat16);

    On on = attached(config(init).build(), new Linear(w.clone(), null));

    assertThat(on.layer().dtype()).isEqualTo(ScalarType.BFloat16);
    assertThat(on.lora().a().scalar_type().intern()).isEqualTo(ScalarType.Float);
    Tensor exact = w.to(ScalarType.Float).sub(on.lora().deltaWeight());
    Tensor ulp = exact.abs().mul(new Scalar(Math.pow(2, -8))).add(new Scalar(1e-6));
    Tensor off = on.layer().weight().to(ScalarType.Float).sub(exact).abs();
    assertThat(off.le(ulp).all().item_bool()).isTrue();
  }

  @Test
  void pissa_takes_the_largest_triplets() {
    Tensor w = draw.normal(6, 8);

    On on = attached(config(new LoraInit.Pissa()).build(), new Linear(w.clone(), null));

    Svd all = Svd.of(w);
    Svd left = Svd.of(on.layer().weight());
    assertThat(gap(left.s().narrow(0, 0, 2), all.s().narrow(0, 4, 2))).isLessThan(1e-5);
    assertThat(gap(on.lora().a().square().sum(new long[] {1}, false, null), scaled(all)))
        .isLessThan(1e-4);
  }

  private static Tensor scaled(Svd all) {
    return all.s().narrow(0, 0, 4).div(new Scalar(1.5));
  }

  @Test
  void more_iterations_come_closer_to_the_exact_triplets() {
    Svd random = Svd.of(draw.normal(40, 30));
    Tensor decay = Tensor.create(new float[30]).copy_(draw.normal(30).zero_());
    for (int i = 0; i < 30; i++) {
      decay.select(0, i).fill_(new Scalar(Math.pow(0.8, i)));
    }
    Tensor w = new Svd(random.u(), decay, random.vt()).u().mul(decay).matmul(random.vt());
    Tensor exact = product(Svd.of(w).first(4));

    double few = gap(product(Svd.randomised(w, 4, 0, Init.shared(1))), exact);
    double many = gap(product(Svd.randomised(w, 4, 16, Init.shared(1))), exact);
    double wide = gap(product(Svd.randomised(w.t(), 4, 16, Init.shared(1))).t(), exact);

    assertThat(many).isLessThan(few / 10).isLessThan(0.01 * exact.abs().max().item_double());
    assertThat(wide).isLessThan(0.01 * exact.abs().max().item_double());
  }

  private static Tensor product(Svd svd) {
    return svd.leftHalf().matmul(svd.rightHalf());
  }

  @Test
  void orthogonal_factors_are_not_zero_but_their_product_is() {
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      Linear layer = new Linear(draw.normal(6, 8).to(dtype), null);

      LoraLinear lora = attached(config(new LoraInit.Orthogonal()).build(), layer).lora();

      assertThat(lora.b().matmul(lora.a()).abs().max().item_double()).isLessThan(1e-6);
      assertThat(norm(lora.a())).isGreaterThan(0.1);
      assertThat(norm(lora.b())).isGreaterThan(0.1);
      assertThat(lora.residual()).isNull();
    }
  }

  @Test
  void orthogonal_refuses_an_odd_rank_wherever_it_stands() {
    String rule = " but init_lora_weights orthogonal halves the rank; give an even one";

    assertThatThrownBy(() -> config(new LoraInit.Orthogonal()).r(3).build())
        .isInstanceOf(ConfigException.class)
        .hasMessage("r is 3" + rule);
    assertThatThrownBy(() -> config(new LoraInit.Orthogonal()).rankPattern(Map.of("l", 5)).build())
        .hasMessage("rank_pattern has 5 for l" + rule);
  }

  @Test
  void mica_freezes_the_least_directions_of_the_weight() {
    Tensor w = draw.normal(6, 8);
    On on = attached(config(new LoraInit.Mica()).build(), new Linear(w.clone(), null));

    LoraLinear lora = on.lora();

    assertThat(on.layer().weight().equal(w)).isTrue();
    assertThat(lora.a().abs().max().item_double()).isZero();
    assertThat(gap(lora.b().t().matmul(lora.b()), eye(4))).isLessThan(1e-5);
    Tensor least = Svd.of(w).s().narrow(0, 2, 4);
    assertThat(Math.abs(norm(lora.b().t().matmul(w)) - norm(least))).isLessThan(1e-4);
    on.adapters().setRequiresGrad(List.of("one"), true);
    assertThat(on.adapters().parameters().keySet())
        .containsExactly("base_model.model.l.lora_A.weight");
    assertThat(lora.state()).containsKey("lora_B.weight");
  }

  @Test
  void mica_on_an_embedding_goes_by_its_columns() {
    var layer = new Embedding(draw.normal(30, 7));
    var adapters = Adapters.of(Tree.empty().with("l", layer), ModelFacts.of("llama"));

    adapters.attach("one", config(new LoraInit.Mica()).r(2).build(), 1);

    Tensor b = there(there(layer.adapters().find("one")).constants().get("lora_embedding_B"));
    Tensor least = Svd.of(layer.weight()).s().narrow(0, 5, 2);
    assertThat(Math.abs(norm(layer.weight().matmul(b)) - norm(least))).isLessThan(1e-4);
    assertThatThrownBy(
            () -> config(new LoraInit.Mica()).r(8).build().create(layer, "l", Init.blank()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "l is [7, 30] but r is 8; mica takes 7 singular vectors at most, so lower r or"
                + " rank_pattern");
  }

  @Test
  void loftq_loses_less_than_quantising_alone_and_not_more_with_more_rounds() {
    Tensor w = draw.normal(32, 64);
    for (int bits : new int[] {4, 8}) {
      double before = Double.MAX_VALUE;
      double plain = 0;
      for (int rounds : new int[] {1, 3}) {
        var init = new LoraInit.Loftq(bits, rounds);
        On on = attached(config(init).alpha(4).build(), new Linear(w.clone(), null));
        double lost = norm(w.sub(on.layer().weight()).sub(on.lora().deltaWeight()));
        plain = rounds == 1 ? norm(w.sub(on.layer().weight())) : plain;
        assertThat(lost).isLessThan(plain).isLessThan(1.01 * before);
        before = lost;
      }
    }
  }

  @Test
  void loftq_warns_of_a_scaling_that_it_does_not_fit() {
    var attached = on(new Linear(draw.normal(6, 8), null)).attach("one", config(LOFTQ).build(), 1);

    assertThat(attached.warnings())
        .containsExactly(
            "l: loftq fits what quantising loses for a scaling of 1 but the scaling is 1.5; set"
                + " lora_alpha to r");
  }

  @Test
  void a_reload_on_the_untouched_base_is_the_trained_model() {
    for (LoraInit init :
        List.of(
            new LoraInit.Pissa(),
            new LoraInit.Olora(),
            new LoraInit.FastPissa(1),
            new LoraInit.Mica(),
            LOFTQ)) {
      Tensor w = draw.normal(6, 8);
      On on = attached(config(init).alpha(4).build(), new Linear(w.clone(), null));
      train(on.lora());
      Tensor x = draw.normal(5, 8);

      AdapterContents saved = on.adapters().contents("one", SaveStart.AS_TRAINED);
      var layer = new Linear(w.clone(), null);
      LoadResult result =
          on(layer)
              .load(
                  "again",
                  saved.config(),
                  copied(saved.tensors()),
                  copied(saved.initial()),
                  LoadOptions.defaults());

      assertThat(gap(layer.forward(x), on.layer().forward(x))).as("%s", init).isLessThan(1e-5);
      assertThat(result.warnings()).isEmpty();
      assertThat(saved.initial().isEmpty()).isEqualTo(!(init instanceof LoraInit.FastPissa));
    }
  }

  @Test
  void a_random_start_without_its_first_values_is_exact_and_warned_of() {
    Tensor w = draw.normal(6, 8);
    On on = attached(config(new LoraInit.FastPissa(1)).build(), new Linear(w.clone(), null));
    var layer = new Linear(w.clone(), null);

    LoadResult result =
        on(layer)
            .load(
                "again",
                on.adapters().config("one"),
                on.adapters().state("one"),
                LoadOptions.defaults());

    On exact = attached(config(new LoraInit.Pissa()).build(), new Linear(w.clone(), null));
    assertThat(layer.weight().equal(exact.layer().weight())).isTrue();
    assertThat(result.warnings()).singleElement().asString().startsWith("the start of again can");
  }

  @ParameterizedTest
  @MethodSource("takenOut")
  void a_converted_adapter_gives_the_trained_model_on_the_untouched_base(LoraInit init) {
    for (LoraConfig config :
        List.of(
            config(init).build(),
            config(init).rslora(true).build(),
            config(init).rankPattern(Map.of("l", 3)).alphaPattern(Map.of("l", 2.0)).build())) {
      Tensor w = draw.normal(6, 8);
      On on = attached(config, new Linear(w.clone(), null));
      train(on.lora());
      Tensor x = draw.normal(5, 8);

      AdapterContents plain = on.adapters().contents("one", SaveStart.PLAIN);
      var layer = new Linear(w.clone(), null);
      on(layer).load("plain", plain.config(), plain.tensors(), LoadOptions.defaults());

      assertThat(gap(layer.forward(x), on.layer().forward(x))).isLessThan(1e-4);
      assertThat(layer.weight().equal(w)).isTrue();
      assertThat(((LoraConfig) plain.config()).init()).isEqualTo(new LoraInit.Uniform());
      assertThat(((LoraConfig) plain.config()).rankAt("l")).isEqualTo(2 * config.rankAt("l"));
    }
  }

  @Test
  void what_can_not_be_repeated_is_converted_by_itself_where_that_can_be() {
    LoraConfig fast = config(new LoraInit.FastPissa(1)).build();
    LoraConfig patterned = fast.toBuilder().rslora(true).rankPattern(Map.of("l", 3)).build();

    On pissa = attached(config(new LoraInit.Pissa()).build(), new Linear(draw.normal(6, 8), null));
    On random = attached(fast, new Linear(draw.normal(6, 8), null));
    On stuck = attached(patterned, new Linear(draw.normal(6, 8), null));

    assertThat(lora(pissa).r()).isEqualTo(4);
    assertThat(lora(random).r()).isEqualTo(8);
    assertThat(lora(stuck).init()).isEqualTo(new LoraInit.FastPissa(1));
    assertThatThrownBy(() -> stuck.adapters().contents("one", SaveStart.PLAIN))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "use_rslora together with rank_pattern or alpha_pattern can not be converted to twice"
                + " the rank; keep the adapter as it was trained");
  }

  private static LoraConfig lora(On on) {
    return (LoraConfig) on.adapters().contents("one", SaveStart.AUTO).config();
  }

  @ParameterizedTest
  @MethodSource("takenOut")
  void restoring_the_base_keeps_the_output(LoraInit init) {
    Tensor w = draw.normal(6, 8);
    On on = attached(config(init).build(), new Linear(w.clone(), null));
    train(on.lora());
    Tensor x = draw.normal(5, 8);
    Tensor before = on.layer().forward(x);

    on.adapters().restoreBase("one");

    assertThat(gap(on.layer().forward(x), before)).isLessThan(1e-4);
    assertThat(gap(on.layer().weight(), w)).isLessThan(1e-5);
    assertThat(on.adapters().parameters()).hasSize(2);
    assertThat(on.adapters().delete("one")).isEmpty();
    assertThat(gap(on.layer().forward(x), on.layer().base(x))).isZero();
  }

  @Test
  void restoring_is_refused_while_something_is_merged() {
    On on = attached(config(new LoraInit.Pissa()).build(), new Linear(draw.normal(6, 8), null));
    on.adapters().merge(true);

    assertThatThrownBy(() -> on.adapters().restoreBase("one"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the base can not be restored while [one] is merged; unmerge first");
  }

  @Test
  void taking_the_adapter_off_tells_that_the_base_stays_changed() {
    On one = attached(config(new LoraInit.Pissa()).build(), new Linear(draw.normal(6, 8), null));
    On two = attached(config(LOFTQ).build(), new Linear(draw.normal(6, 8), null));
    String told =
        "the base stays as the start of one changed it; load the model again, or call restoreBase"
            + " before where the start allows it";

    assertThat(one.adapters().delete("one")).containsExactly(told);
    assertThat(two.adapters().unload()).containsExactly(told);
  }

  @Test
  void layers_and_weights_that_can_not_be_decomposed_are_refused_before_anything_changes() {
    var convolution = new Convolution(draw.normal(4, 4, 3), null, Convolution.Geometry.plain(1));
    var wide = new Linear(draw.normal(6, 8).to(ScalarType.Double), null);
    Tensor broken = draw.normal(6, 8);
    broken.select(0, 1).fill_(new Scalar(Double.NaN));

    assertThatThrownBy(() -> config(LOFTQ).build().create(convolution, "l", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class);
    assertThatThrownBy(() -> attached(config(new LoraInit.Pissa()).build(), wide))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("l is Double but init_lora_weights pissa decomposes");
    assertThatThrownBy(
            () -> attached(config(new LoraInit.Olora()).build(), new Linear(broken, null)))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith("l has entries that are not finite");
    assertThatThrownBy(
            () ->
                attached(
                    config(new LoraInit.Pissa()).alpha(0).build(),
                    new Linear(draw.normal(6, 8), null)))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("l has the scaling 0.0 but init_lora_weights pissa takes its root");
  }

  @Test
  void the_same_seed_gives_the_same_random_start() {
    Tensor w = draw.normal(6, 8);
    LoraConfig config = config(new LoraInit.FastPissa(1)).build();

    On one = attached(config, new Linear(w.clone(), null));
    On two = attached(config, new Linear(w.clone(), null));
    Adapters other = on(new Linear(w.clone(), null));
    other.attach("one", config, AttachOptions.of(InitSource.seeded(4)));

    assertThat(one.layer().weight().equal(two.layer().weight())).isTrue();
    assertThat(one.lora().a().equal(two.lora().a())).isTrue();
    assertThat(other.state("one").values().iterator().next().equal(one.lora().a())).isFalse();
  }
}
