package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.Attached;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.Svd;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraInit.Direction;
import espalier.adapters.lora.LoraInit.Scale;
import espalier.adapters.lora.LoraLinear;
import espalier.nn.Embedding;
import espalier.nn.FourBit;
import espalier.nn.FourBitWeight;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class LoraGaTest {

  private static final ModelFacts FACTS = ModelFacts.of("chain");

  private final Tree.Draw draw = new Tree.Draw(2);
  private final Tensor x = draw.normal(5, 7, 8);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static LoraConfig config(Direction direction, Scale scale) {
    return LoraConfig.builder()
        .r(2)
        .alpha(3)
        .targets(Targets.named("q", "o"))
        .init(new LoraInit.LoraGa(direction, scale, 16))
        .build();
  }

  private static LoraConfig usual() {
    return config(Direction.AR_B2R, Scale.STABLE);
  }

  private Runnable step(Chain chain) {
    return () -> {
      try (var _ = Scope.graph()) {
        chain.forward(x.to(chain.layer("q").dtype())).square().mean().backward();
      }
    };
  }

  private static Adapters attach(Chain chain, LoraConfig config, Prepared prepared) {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    var init = InitSource.seeded(3).withPrepared(prepared.values());
    adapters.attach("default", config, AttachOptions.of(init));
    return adapters;
  }

  private static LoraLinear on(Adapters adapters, String path) {
    return (LoraLinear) Objects.requireNonNull(adapters.on("default").get(path));
  }

  private static Tensor gradient(Prepared found, String path) {
    return Objects.requireNonNull(
        Objects.requireNonNull(found.values().get(path)).get(LoraInit.LoraGa.GRADIENT));
  }

  @Test
  void the_gradient_of_a_quadratic_is_that_of_the_formula() {
    Chain chain = Chain.float32();
    LoraConfig config = usual().withTargets(Targets.named("q"));
    Tensor rows = x.reshape(-1, 8);
    Runnable twice =
        () -> {
          for (int i = 0; i < 2; i++) {
            try (var _ = Scope.graph()) {
              chain.layer("q").forward(x).square().sum().backward();
            }
          }
        };

    try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, config, twice)) {
      Tensor got = gradient(found, "block.q");

      // d/dW sum((x Wᵀ)²) = 2 W XᵀX
      Tensor want = chain.layer("q").weight().matmul(rows.t().matmul(rows)).mul(new Scalar(2));
      assertThat(Chain.relative(got, want)).isLessThan(1e-5);
    }
  }

  @ParameterizedTest
  @EnumSource(Direction.class)
  void the_output_at_the_start_is_that_of_the_base(Direction direction) {
    for (Scale scale : Scale.values()) {
      Chain chain = Chain.float32();
      LoraConfig config = config(direction, scale);
      Tensor before = chain.forward(x);
      Tensor weight = chain.layer("o").weight().clone();

      try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, config, step(chain));
          var _ = new NoGradGuard()) {
        LoraLinear lora = on(attach(chain, config, found), "block.o");

        assertThat(Chain.relative(chain.forward(x), before)).isLessThan(1e-5);
        Tensor whole = chain.layer("o").weight().add(lora.deltaWeight());
        assertThat(Chain.relative(whole, weight)).isLessThan(1e-6);
        assertThat(lora.deltaWeight().norm().item_double()).isGreaterThan(1e-2);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"AR_BR, 1, 3, 0, 2", "A2R_BR, 2, 3, 0, 1", "AR_B2R, 0, 1, 2, 3"})
  void each_direction_takes_its_singular_vectors(
      Direction direction, long a0, long a1, long b0, long b1) {
    Chain chain = Chain.float32();
    LoraConfig config = config(direction, Scale.UNIT);

    try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, config, step(chain));
        var _ = new NoGradGuard()) {
      Tensor gradient = gradient(found, "block.q").clone();
      LoraLinear lora = on(attach(chain, config, found), "block.q");

      Svd svd = Svd.of(gradient);
      int i = 0;
      for (long index : new long[] {a0, a1}) {
        Tensor v = svd.vt().select(0, index);
        assertThat(Math.abs(lora.a().select(0, i++).dot(v).item_float()))
            .isCloseTo(1f, within(1e-4f));
      }
      i = 0;
      for (long index : new long[] {b0, b1}) {
        Tensor u = svd.u().select(1, index);
        float s = svd.s().select(0, index).item_float();
        assertThat(Math.abs(lora.b().select(1, i++).dot(u).item_float()) / s)
            .isCloseTo(1f, within(1e-4f));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Scale.class)
  void each_scale_multiplies_the_factors_by_its_number(Scale scale) {
    Chain chain = Chain.float32();
    LoraConfig config = config(Direction.A2R_BR, scale);

    try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, config, step(chain));
        var _ = new NoGradGuard()) {
      Svd gradient = Svd.of(gradient(found, "block.o"));
      double first = gradient.s().select(0, 0).item_double();
      double ofWeight = Svd.of(chain.layer("o").weight()).s().select(0, 0).item_double();
      LoraLinear lora = on(attach(chain, config, found), "block.o");

      double normOfA = lora.a().select(0, 0).norm().item_double();
      double normOfB = lora.b().select(1, 0).norm().item_double();
      double s = 1.5;
      switch (scale) {
        case UNIT -> assertThat(normOfB / first).isCloseTo(1, within(1e-4));
        // out is 8 also where the weight is stored as [in, out]
        case STABLE -> assertThat(normOfB / first).isCloseTo(Math.pow(8, 0.25) / 4, within(1e-4));
        case GD_SCALE -> {
          assertThat(normOfB / first).isCloseTo(1 / s, within(1e-4));
          assertThat(normOfA).isCloseTo(1 / s, within(1e-4));
        }
        case WEIGHT_SVD -> // by a randomised decomposition with close singular values
            assertThat(normOfB / ofWeight).isCloseTo(1, within(0.05));
      }
    }
  }

  @Test
  void in_bfloat16_what_is_taken_out_is_what_the_branch_adds() {
    Chain chain = Chain.of(ScalarType.BFloat16);
    Tensor weight = chain.layer("q").weight().to(ScalarType.Float);

    try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, usual(), step(chain));
        var _ = new NoGradGuard()) {
      LoraLinear lora = on(attach(chain, usual(), found), "block.q");

      assertThat(lora.a().to(ScalarType.BFloat16).to(ScalarType.Float).equal(lora.a())).isTrue();
      Tensor residual = weight.sub(lora.deltaWeight()).to(ScalarType.BFloat16);
      assertThat(Chain.relative(chain.layer("q").weight(), residual)).isLessThan(1e-2);
    }
  }

  @Test
  void a_cache_that_is_there_is_read_without_a_step() {
    Chain chain = Chain.float32();
    var cache = new MemoryCache();
    var steps = new ArrayList<Integer>();
    Runnable counted =
        () -> {
          steps.add(1);
          step(chain).run();
        };

    try (Prepared first =
            LoraGa.preprocess(chain.tree, FACTS, usual(), counted, cache, "gradients");
        Prepared second =
            LoraGa.preprocess(chain.tree, FACTS, usual(), counted, cache, "gradients")) {
      assertThat(steps).hasSize(1);
      assertThat(cache.files.get("gradients"))
          .containsOnlyKeys("block.q._peft_loraga_grad", "block.o._peft_loraga_grad");
      first
          .flat()
          .forEach(
              (key, t) ->
                  assertThat(t.equal(Objects.requireNonNull(second.flat().get(key)))).isTrue());
    }
  }

  @Test
  void a_cache_of_another_model_is_refused_by_name() {
    Chain chain = Chain.float32();
    var cache = new MemoryCache();
    cache.write("gradients", Map.of("block.q._peft_loraga_grad", draw.normal(10, 8)));

    assertThatThrownBy(
            () -> LoraGa.preprocess(chain.tree, FACTS, usual(), step(chain), cache, "gradients"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(
            "gradients has no block.o._peft_loraga_grad, so it was made for another model or other"
                + " target_modules; delete it to compute it anew");
  }

  @Test
  void a_target_without_a_gradient_is_named_and_the_model_is_left_as_it_was() {
    Chain chain = Chain.float32();
    LoraConfig config = usual().withTargets(Targets.named("q", "k"));

    assertThatThrownBy(() -> LoraGa.estimateGradients(chain.tree, FACTS, config, step(chain)))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageStartingWith("block.k got no gradient");

    assertThat(chain.tree.training()).isFalse();
    assertThat(chain.layer("q").observed()).isFalse();
    assertThat(chain.layer("q").weight().requires_grad()).isFalse();
  }

  @Test
  void the_model_is_in_training_mode_while_gradients_are_summed() {
    Chain chain = Chain.float32();
    var modes = new ArrayList<Boolean>();

    LoraGa.estimateGradients(
            chain.tree,
            FACTS,
            usual(),
            () -> {
              modes.add(chain.layer("q").training());
              step(chain).run();
            })
        .close();

    assertThat(modes).containsExactly(true);
    assertThat(chain.layer("q").training()).isFalse();
  }

  @Test
  void a_rank_without_room_for_twice_as_many_vectors_is_refused() {
    Chain chain = Chain.float32();
    LoraConfig config = usual().toBuilder().r(5).build();

    try (Prepared found = LoraGa.estimateGradients(chain.tree, FACTS, config, step(chain))) {
      assertThatThrownBy(() -> attach(chain, config, found))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "block.q is [10, 8] and r is 5 but init_lora_weights lora_ga takes 2r singular"
                  + " vectors; give it a rank of 4 or less in rank_pattern, or leave it out");
    }
  }

  @Test
  void without_a_gradient_it_starts_plainly_and_warns() {
    Chain chain = Chain.float32();
    Tensor weight = chain.layer("q").weight().clone();

    Attached attached = Adapters.of(chain.tree, FACTS).attach("default", usual(), 1);

    assertThat(chain.layer("q").weight().equal(weight)).isTrue();
    assertThat(attached.warnings()).anyMatch(w -> w.contains("no gradient was estimated"));
  }

  @Test
  void a_quantised_target_is_refused_before_any_data_is_read() {
    Chain chain = Chain.float32();
    Linear layer = chain.layer("q");
    layer.quantise(FourBitWeight.quantise(layer.weight(), FourBit.NF4, ScalarType.Float));
    var steps = new ArrayList<String>();

    assertThatThrownBy(
            () -> LoraGa.estimateGradients(chain.tree, FACTS, usual(), () -> steps.add("a step")))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("block.q is quantised as nf4, for which init_lora_weights lora_ga");

    assertThat(steps).isEmpty();
    assertThat(chain.layer("o").observed()).isFalse();
  }

  @Test
  void flags_and_mode_are_restored_when_a_step_fails() {
    Chain chain = Chain.float32();
    Runnable failing =
        () -> {
          step(chain).run();
          throw new IllegalStateException("the data broke off");
        };

    assertThatThrownBy(() -> LoraGa.estimateGradients(chain.tree, FACTS, usual(), failing))
        .hasMessage("the data broke off");

    assertThat(chain.tree.training()).isFalse();
    assertThat(chain.layer("q").observed()).isFalse();
    assertThat(chain.layer("q").weight().requires_grad()).isFalse();
    assertThat(chain.layer("q").weight().grad().defined()).isFalse();
  }

  @Test
  void a_config_with_another_start_and_targets_without_a_linear_layer_are_refused() {
    Chain chain = Chain.float32();
    Tree embedding = Tree.empty().with("embed", new Embedding(draw.normal(5, 4)));

    assertThatThrownBy(
            () -> LoraGa.estimateGradients(chain.tree, FACTS, LoraConfig.defaults(), () -> {}))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lora_ga_config");
    assertThatThrownBy(
            () ->
                LoraGa.estimateGradients(
                    embedding, FACTS, usual().withTargets(Targets.named("embed")), () -> {}))
        .isInstanceOf(TargetException.class)
        .hasMessageContaining("none of the targets is a linear layer");
  }

  @Test
  void a_raw_folder_goes_back_on_the_untouched_base_with_its_first_factors() {
    Chain trained = Chain.float32();
    Chain fresh = Chain.float32();
    try (Prepared found = LoraGa.estimateGradients(trained.tree, FACTS, usual(), step(trained));
        var _ = new NoGradGuard()) {
      Adapters adapters = attach(trained, usual(), found);
      on(adapters, "block.q").b().add_(new Scalar(0.25)); // as training would
      var contents = adapters.contents("default", espalier.adapters.SaveStart.AS_TRAINED);

      Adapters again = Adapters.of(fresh.tree, FACTS);
      again.load(
          "default",
          contents.config(),
          contents.tensors(),
          contents.initial(),
          espalier.adapters.LoadOptions.defaults());

      assertThat(Chain.relative(fresh.forward(x), trained.forward(x))).isLessThan(1e-6);
      assertThat(List.copyOf(contents.initial().keySet())).hasSize(4);
    }
  }
}
