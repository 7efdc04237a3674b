package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraLinear;
import espalier.nn.Embedding;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CordaTest {

  private static final ModelFacts FACTS = ModelFacts.of("chain");

  private final Tree.Draw draw = new Tree.Draw(9);
  private final Tensor x = draw.normal(2, 30, 8);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static LoraConfig config(int r, boolean knowledge) {
    return config(r, new LoraInit.Corda(null, null, knowledge, false, false, true));
  }

  private static LoraConfig config(int r, LoraInit.Corda corda) {
    return LoraConfig.builder().r(r).alpha(3).targets(Targets.named("q", "o")).init(corda).build();
  }

  private Runnable run(Chain chain) {
    return () -> chain.forward(x.to(chain.layer("q").dtype())).close();
  }

  private Prepared prepare(Chain chain, LoraConfig config) {
    return Corda.preprocess(chain.tree, FACTS, config, run(chain), TensorCache.none());
  }

  private static Adapters attach(Chain chain, LoraConfig config, Prepared prepared) {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    var init = InitSource.seeded(3).withPrepared(prepared.values());
    adapters.attach("default", config, AttachOptions.of(init));
    return adapters;
  }

  private static Tensor delta(Adapters adapters, String path) {
    return ((LoraLinear) Objects.requireNonNull(adapters.on("default").get(path))).deltaWeight();
  }

  /** What a start takes out of the layer. */
  private Tensor taken(String layer, int r, boolean knowledge) {
    Chain chain = Chain.float32();
    LoraConfig config = config(r, knowledge);
    try (Prepared found = prepare(chain, config);
        var _ = new NoGradGuard()) {
      Adapters adapters = attach(chain, config, found);
      return delta(adapters, "block." + layer);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void the_output_at_the_start_is_that_of_the_base(boolean knowledge) {
    for (ScalarType dtype : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      Chain chain = Chain.of(dtype);
      LoraConfig config = config(3, knowledge);
      Tensor input = x.to(dtype);
      Tensor before = chain.forward(input);
      Tensor weight = chain.layer("o").weight().to(ScalarType.Float);

      try (Prepared found = prepare(chain, config);
          var _ = new NoGradGuard()) {
        Adapters adapters = attach(chain, config, found);

        double bound = dtype == ScalarType.Float ? 1e-5 : 2e-2;
        assertThat(Chain.relative(chain.forward(input), before)).isLessThan(bound);
        Tensor whole =
            chain.layer("o").weight().to(ScalarType.Float).add(delta(adapters, "block.o"));
        assertThat(Chain.relative(whole, weight)).isLessThan(bound);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"q", "o"}) // o is stored as [in, out]
  void all_components_together_are_the_weight(String layer) {
    Tensor all = taken(layer, 8, false);

    assertThat(Chain.relative(all, Chain.float32().layer(layer).weight())).isLessThan(1e-4);
  }

  @Test
  void the_largest_and_the_smallest_components_complete_each_other() {
    Tensor largest = taken("q", 3, false);
    Tensor smallest = taken("q", 5, true);

    assertThat(Chain.relative(largest.add(smallest), Chain.float32().layer("q").weight()))
        .isLessThan(1e-4);
  }

  @Test
  void the_largest_components_lose_less_of_the_task_s_outputs_than_others() {
    Tensor weight = Chain.float32().layer("q").weight();
    Tensor rows = x.reshape(-1, 8);
    Tensor outputs = rows.matmul(weight.t());

    double lost = Chain.relative(rows.matmul(taken("q", 3, false).t()), outputs);
    double lostBySmallest = Chain.relative(rows.matmul(taken("q", 3, true).t()), outputs);

    assertThat(lost).isLessThan(lostBySmallest);
  }

  @Test
  void the_covariance_is_the_mean_over_calls_of_inputs_divided_by_their_largest_entry() {
    Chain chain = Chain.float32();
    LoraConfig config = config(2, new LoraInit.Corda(null, null, false, false, false, false));
    Runnable twice =
        () -> {
          run(chain).run();
          chain.forward(x.mul(new Scalar(-0.5))).close();
        };

    try (Prepared found = Corda.preprocess(chain.tree, FACTS, config, twice, TensorCache.none())) {
      Tensor want = moments(x).add(moments(x.mul(new Scalar(-0.5)))).div(new Scalar(2.0));
      Map<String, Tensor> ofQ = Objects.requireNonNull(found.values().get("block.q"));
      assertThat(Chain.relative(Objects.requireNonNull(ofQ.get(Corda.COVARIANCE)), want))
          .isLessThan(1e-6);
      assertThat(Objects.requireNonNull(ofQ.get(Corda.CALLS)).item_long()).isEqualTo(2);
    }
  }

  private static Tensor moments(Tensor input) {
    Tensor rows = input.reshape(-1, 8);
    rows = rows.div(rows.max().abs()); // the largest with its sign: not the largest magnitude
    return rows.t().matmul(rows);
  }

  @Test
  void files_that_are_there_are_read_without_running_the_model() {
    Chain chain = Chain.float32();
    var cache = new MemoryCache();
    LoraConfig config =
        config(3, new LoraInit.Corda("components", "covariances", false, false, false, true));

    try (Prepared computed = Corda.preprocess(chain.tree, FACTS, config, run(chain), cache);
        Prepared read = Corda.preprocess(chain.tree, FACTS, config, null, cache)) {
      assertThat(cache.files.get("covariances")).containsOnlyKeys("block.q", "block.o");
      computed.flat().forEach((key, t) -> assertThat(same(read, key, t)).isTrue());

      cache.files.remove("components");
      try (Prepared again = Corda.preprocess(chain.tree, FACTS, config, null, cache)) {
        computed.flat().forEach((key, t) -> assertThat(same(again, key, t)).isTrue());
      }
    }
  }

  private static boolean same(Prepared prepared, String key, Tensor want) {
    return Objects.requireNonNull(prepared.flat().get(key), key).equal(want);
  }

  @Test
  void a_cache_of_another_rank_is_refused_when_the_adapter_is_attached() {
    Chain chain = Chain.float32();
    LoraConfig other = config(4, false);

    try (Prepared found = prepare(chain, config(3, false))) {
      assertThatThrownBy(() -> attach(chain, other, found))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith(
              "block.q: the prepared S is [3] but [4] is needed; the cache, the rank or the model");
    }
  }

  @Test
  void covariances_of_another_model_are_refused() {
    Chain chain = Chain.float32();
    var cache = new MemoryCache();
    cache.write(
        "covariances", Map.of("block.q", draw.normal(4, 4), "block.o", draw.normal(10, 10)));
    LoraConfig config =
        config(3, new LoraInit.Corda(null, "covariances", false, false, false, true));

    assertThatThrownBy(() -> Corda.preprocess(chain.tree, FACTS, config, null, cache))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageStartingWith("block.q: the covariance in covariances is [4, 4] but [8, 8]");
  }

  @Test
  void another_model_of_the_same_paths_may_run() {
    Chain adapted = Chain.float32();
    Chain running = Chain.float32();
    LoraConfig config = config(3, false);

    try (Prepared own = prepare(adapted, config);
        Prepared other =
            Corda.preprocess(
                adapted.tree, FACTS, config, run(running), TensorCache.none(), running.tree)) {
      own.flat().forEach((key, t) -> assertThat(same(other, key, t)).isTrue());
    }
  }

  @Test
  void a_run_that_fails_leaves_the_model_unobserved_and_in_its_mode() {
    Chain chain = Chain.float32();
    chain.tree.train(true);

    assertThatThrownBy(
            () ->
                Corda.preprocess(
                    chain.tree,
                    FACTS,
                    config(3, false),
                    () -> {
                      assertThat(chain.tree.training()).isFalse();
                      throw new IllegalArgumentException("no data");
                    },
                    TensorCache.none()))
        .hasMessage("no data");

    assertThat(chain.layer("q").observed()).isFalse();
    assertThat(chain.tree.training()).isTrue();
  }

  @Test
  void what_can_not_be_prepared_is_refused_with_a_way_out() {
    Chain chain = Chain.float32();
    Tree embedding = Tree.empty().with("q", new Embedding(draw.normal(5, 4)));
    LoraConfig config = config(3, false);

    assertThatThrownBy(() -> refused(chain.tree, config, null))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("runModel is null");
    assertThatThrownBy(() -> refused(chain.tree, config, () -> {}))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageStartingWith("block.q got no input");
    assertThatThrownBy(() -> refused(chain.tree, config(9, false), run(chain)))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("block.q is [10, 8] and has 8 components but r is 9");
    assertThatThrownBy(() -> refused(chain.tree, LoraConfig.defaults(), run(chain)))
        .isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> refused(embedding, config, run(chain)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("q is no linear layer");
    assertThatThrownBy(
            () ->
                refused(
                    chain.tree, config, () -> chain.forward(x.mul(new Scalar(Double.NaN))).close()))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageContaining("the covariance of its inputs is not finite");
  }

  private static void refused(
      espalier.nn.Layer model, LoraConfig config, @Nullable Runnable runModel) {
    Corda.preprocess(model, FACTS, config, runModel, TensorCache.none()).close();
  }

  @Test
  void attaching_without_preparation_is_refused_and_changes_nothing() {
    Chain chain = Chain.float32();
    Adapters adapters = Adapters.of(chain.tree, FACTS);

    assertThatThrownBy(() -> adapters.attach("default", config(3, false), 1))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("run Corda.preprocess before");

    assertThat(adapters.names()).isEmpty();
    assertThat(chain.layer("q").adapters().all()).isEmpty();
  }
}
