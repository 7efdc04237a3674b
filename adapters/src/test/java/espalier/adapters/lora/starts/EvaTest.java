package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.Attached;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.Modules;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.Svd;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraLinear;
import espalier.nn.Embedding;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class EvaTest {

  private static final ModelFacts FACTS = ModelFacts.of("chain");
  private static final InitSource INIT = InitSource.seeded(5);

  private final Tree.Draw draw = new Tree.Draw(13);
  private final Chain chain = Chain.float32();
  private final List<Tensor> inputs = new ArrayList<>();
  private Scope scope = Scope.graph();

  @BeforeEach
  void open() {
    scope = Scope.graph();
    // directions of very different weight, so that components settle
    Tensor weights = tensor(new float[] {8, 4, 2, 1, 0.5f, 0.25f, 0.12f, 0.06f});
    for (int i = 0; i < 3; i++) {
      inputs.add(draw.normal(2, 40, 8).mul(weights));
    }
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static LoraInit.Eva eva(double rho, boolean whiten, boolean adjust) {
    return new LoraInit.Eva(rho, 0.99, true, -100, whiten, adjust);
  }

  private static LoraConfig config(LoraInit.Eva eva) {
    return LoraConfig.builder()
        .r(2)
        .alpha(3)
        .targets(Targets.named("q", "k", "o"))
        .init(eva)
        .build();
  }

  private static LoraConfig usual() {
    return config(LoraInit.Eva.defaults());
  }

  private List<EvaBatch> batches(@Nullable Tensor mask) {
    return inputs.stream().map(x -> new EvaBatch(() -> chain.forward(x).close(), mask)).toList();
  }

  private Map<String, Tensor> compute(LoraConfig config, EvaOptions options) {
    var copies = new LinkedHashMap<String, Tensor>();
    try (Prepared found = Eva.compute(chain.tree, FACTS, config, batches(null), options)) {
      Eva.components(found).forEach((path, t) -> copies.put(path, t.clone()));
    }
    return copies;
  }

  private static LoraLinear on(Adapters adapters, String path) {
    return (LoraLinear) Objects.requireNonNull(adapters.on("default").get(path), path);
  }

  @Test
  void the_model_runs_once_over_a_batch_that_is_known_to_come_again() {
    Map<String, Tensor> plain = compute(usual(), EvaOptions.defaults());
    var runs = new AtomicInteger();
    List<EvaBatch> known =
        inputs.stream()
            .map(
                x ->
                    new EvaBatch(
                        () -> {
                          runs.incrementAndGet();
                          chain.forward(x).close();
                        },
                        null,
                        x))
            .toList();

    try (Prepared found = Eva.compute(chain.tree, FACTS, usual(), known, EvaOptions.defaults())) {

      assertThat(runs.get()).isLessThanOrEqualTo(known.size() + 1); // one tells equal inputs
      Eva.components(found)
          .forEach((path, t) -> assertThat(t.equal(plain.get(path))).as(path).isTrue());
    }
  }

  @Test
  void components_are_orthonormal_and_within_the_budget() {
    Map<String, Tensor> components = compute(usual(), EvaOptions.defaults());

    long sum = 0;
    for (Tensor rows : components.values()) {
      long rank = rows.size(0);
      assertThat(rows.matmul(rows.t()).allclose(eye(rank), 1e-5, 1e-5, false)).isTrue();
      assertThat(rank).isLessThanOrEqualTo(4); // r times rho
      sum += rank;
    }
    assertThat(sum).isEqualTo(6);
  }

  @Test
  void components_are_the_principal_directions_of_all_inputs() {
    Tensor rows = draw.normal(0, 8);
    for (Tensor x : inputs) {
      rows = cat(new TensorVector(rows, x.reshape(-1, 8)), 0);
    }
    Svd full = Svd.of(rows.sub(rows.mean(0)));

    Tensor found = Objects.requireNonNull(compute(usual(), EvaOptions.defaults()).get("block.q"));

    Tensor first = full.vt().narrow(0, 0, found.size(0));
    double error = found.t().matmul(found).sub(first.t().matmul(first)).norm().item_double();
    assertThat(error).isLessThan(0.1); // the later batches are seen once, the first one twice
  }

  @Test
  void layers_with_equal_inputs_share_their_components() {
    Map<String, Tensor> components = compute(config(eva(1, false, true)), EvaOptions.defaults());

    Tensor q = Objects.requireNonNull(components.get("block.q"));
    Tensor k = Objects.requireNonNull(components.get("block.k"));
    long shared = Math.min(q.size(0), k.size(0));
    assertThat(shared).isPositive();
    assertThat(q.narrow(0, 0, shared).equal(k.narrow(0, 0, shared))).isTrue();
  }

  @Test
  void the_output_stays_and_the_config_tells_what_was_done() {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    adapters.attach("default", usual(), 1);
    Tensor before = chain.forward(inputs.getFirst());

    Attached attached =
        Eva.initialise(adapters, "default", batches(null), EvaOptions.defaults(), INIT);

    assertThat(chain.forward(inputs.getFirst()).equal(before)).isTrue();
    var config = (LoraConfig) attached.config();
    for (String path : attached.modules()) {
      LoraLinear lora = on(adapters, path);
      assertThat(config.rankAt(path)).isEqualTo((int) lora.a().size(0));
      assertThat(lora.b().abs().max().item_float()).isZero();
      assertThat(lora.scaling()).isEqualTo(1.5); // alpha follows the rank
    }
    assertThat(config.init()).isInstanceOf(LoraInit.Eva.class);
    assertThat(adapters.active()).containsExactly("default");
    assertThat(on(adapters, "block.q").trainable()).isTrue();
  }

  @Test
  void a_layer_of_rank_0_loses_its_adapter_and_leaves_the_targets() {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    adapters.attach("default", usual(), 1);
    var components = new LinkedHashMap<String, Tensor>();
    components.put("block.q", eye(3, 8));
    components.put("block.k", eye(0, 8));
    components.put("block.o", eye(3, 10));

    Eva.initialise(adapters, "default", components, INIT);

    assertThat(adapters.on("default")).containsOnlyKeys("block.q", "block.o");
    assertThat(chain.layer("k").adapters().all()).isEmpty();
    var config = (LoraConfig) adapters.config("default");
    assertThat(config.targets().modules())
        .isEqualTo(new Modules.Named(List.of("block.o", "block.q")));
    assertThat(config.rankPattern().entries()).isEqualTo(Map.of("block.q", 3, "block.o", 3));
    assertThat(config.alphaPattern().entries()).isEqualTo(Map.of("block.q", 4.5, "block.o", 4.5));
    assertThat(on(adapters, "block.q").a().equal(eye(3, 8))).isTrue();
  }

  @Test
  void without_adjusting_alpha_stays() {
    LoraConfig config = config(eva(2, false, false));
    Map<String, Tensor> components = Map.of("block.q", eye(3, 8));

    LoraConfig after = Eva.redistributed(chain.tree, FACTS, config, components);

    assertThat(after.alphaPattern().isEmpty()).isTrue();
    assertThat(after.scalingAt("block.q")).isEqualTo(1);
    assertThat(after.scalingAt("block.k")).isEqualTo(1.5); // no components, as before
  }

  @Test
  void whitening_divides_by_the_root_of_the_singular_values() {
    Tensor plain =
        Objects.requireNonNull(
            compute(config(eva(1, false, true)), EvaOptions.defaults()).get("block.q"));
    Tensor white =
        Objects.requireNonNull(
            compute(config(eva(1, true, true)), EvaOptions.defaults()).get("block.q"));

    Tensor norms = white.square().sum(1).sqrt();
    assertThat(white.div(norms.unsqueeze(1)).allclose(plain, 1e-4, 1e-4, false)).isTrue();
    assertThat(norms.diff().min().item_float()).isPositive(); // the largest shrinks most
  }

  @Test
  void masked_tokens_do_not_count() {
    Tensor attention = ones(2, 40);
    Tensor labels = attention.mul(new Scalar(5.0));
    attention.select(0, 1).narrow(0, 20, 20).zero_();
    labels.select(0, 0).narrow(0, 0, 10).fill_(new Scalar(-100));
    Tensor mask = EvaBatch.tokens(attention, labels, LoraInit.Eva.defaults());
    var seen = new ArrayList<Long>();
    LayerRows counting =
        (x, m, path) -> {
          Tensor rows = LayerRows.masked(x, m, path);
          seen.add(rows.size(0));
          return rows;
        };

    Eva.compute(chain.tree, FACTS, usual(), batches(mask), EvaOptions.defaults().withRows(counting))
        .close();

    assertThat(seen).isNotEmpty().allMatch(n -> n == 30 + 20);
    var allLabels = new LoraInit.Eva(2, 0.99, false, -100, false, true);
    assertThat(EvaBatch.tokens(attention, labels, allLabels).sum().item_long()).isEqualTo(60);
  }

  @Test
  void some_layers_may_have_rows_of_their_own() {
    var asked = new ArrayList<String>();
    LayerRows own =
        (x, m, path) -> {
          asked.add(path);
          return LayerRows.masked(x, m, path);
        };

    Eva.compute(
            chain.tree,
            FACTS,
            usual(),
            batches(null),
            EvaOptions.defaults().withRowsOf(Map.of("block.o", own)))
        .close();

    assertThat(asked).isNotEmpty().containsOnly("block.o");
    assertThatThrownBy(
            () -> compute(usual(), EvaOptions.defaults().withRowsOf(Map.of("block.x", own))))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "rows are given for [block.x] but there are no such targets; the first target is"
                + " block.q");
  }

  @Test
  void settled_layers_end_the_run() {
    var runs = new ArrayList<Integer>();
    List<EvaBatch> same =
        List.of(
            new EvaBatch(
                () -> {
                  runs.add(1);
                  chain.forward(inputs.getFirst()).close();
                },
                null));

    Eva.compute(chain.tree, FACTS, usual(), same, EvaOptions.defaults()).close();

    // one to find equal inputs, one to begin with, one that changes nothing any more
    assertThat(runs).hasSize(3);
  }

  @Test
  void a_limit_ends_what_never_settles_with_a_warning() {
    var warnings = new ArrayList<String>();
    var strict = config(new LoraInit.Eva(2, 1, true, -100, false, true));

    Map<String, Tensor> components =
        compute(strict, EvaOptions.defaults().withMaxBatches(2).withWarnings(warnings::add));

    assertThat(warnings).singleElement().asString().startsWith("EVA stopped after 2 batches");
    assertThat(components).containsOnlyKeys("block.q", "block.k", "block.o");
  }

  @Test
  void a_batch_with_too_few_rows_is_passed_over() {
    var warnings = new ArrayList<String>();
    Tensor few = zeros(2, 40);
    few.select(0, 0).narrow(0, 0, 3).fill_(new Scalar(1));
    var mixed = new ArrayList<>(batches(few.ne(new Scalar(0))).subList(0, 1));
    mixed.addAll(batches(null).subList(1, 3));

    Eva.compute(
            chain.tree, FACTS, usual(), mixed, EvaOptions.defaults().withWarnings(warnings::add))
        .close();

    assertThat(warnings)
        .contains("block.q: a batch is passed over because it has 3 rows for 4 components");
  }

  @Test
  void other_layers_start_plainly_and_are_named() {
    chain.tree.with("embed", new Embedding(draw.normal(5, 4)));
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    adapters.attach("default", usual().withTargets(Targets.named("q", "embed")), 1);

    Attached attached =
        Eva.initialise(adapters, "default", batches(null), EvaOptions.defaults(), INIT);

    assertThat(attached.modules()).contains("embed");
    assertThat(attached.warnings())
        .contains("[embed] have no components and start as with true; EVA is for linear layers");
  }

  @Test
  void two_steps_give_what_one_gives() {
    Adapters one = Adapters.of(chain.tree, FACTS);
    one.attach("default", usual(), 1);
    Eva.initialise(one, "default", batches(null), EvaOptions.defaults(), INIT);
    Tensor a = on(one, "block.q").a().detach().clone();
    one.delete("default");

    Map<String, Tensor> components = compute(usual(), EvaOptions.defaults());
    one.attach("default", usual(), 1);
    Eva.initialise(one, "default", components, INIT);

    assertThat(on(one, "block.q").a().equal(a)).isTrue();
  }

  @Test
  void the_model_runs_in_evaluation_mode_without_its_adapters() {
    chain.tree.train(true);
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    adapters.attach("default", usual(), 1);
    try (var _ = new NoGradGuard()) {
      adapters.on("default").values().forEach(a -> ((LoraLinear) a).b().fill_(new Scalar(9)));
    }
    var modes = new ArrayList<Boolean>();
    List<EvaBatch> data =
        List.of(
            new EvaBatch(
                () -> {
                  modes.add(chain.tree.training());
                  assertThat(chain.layer("q").adapters().inForce()).isEmpty();
                  chain.forward(inputs.getFirst()).close();
                },
                null));

    Eva.initialise(adapters, "default", data, EvaOptions.defaults(), INIT);

    assertThat(modes).isNotEmpty().containsOnly(false);
    assertThat(chain.tree.training()).isTrue();
    assertThat(chain.layer("q").observed()).isFalse();
  }

  @Test
  void what_can_not_be_started_is_refused() {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    Map<String, Tensor> none = Map.of();
    assertThatThrownBy(() -> Eva.initialise(adapters, "default", none, INIT))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("the model has no adapter");

    adapters.attach("plain", LoraConfig.defaults().withTargets(Targets.named("q")), 1);
    assertThatThrownBy(() -> Eva.initialise(adapters, "plain", none, INIT))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("init_lora_weights eva");

    adapters.add("default", usual(), AttachOptions.of(INIT));
    adapters.setActive(List.of("plain", "default"));
    assertThatThrownBy(() -> Eva.initialise(adapters, "default", none, INIT))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("[plain, default] are active");

    assertThatThrownBy(
            () -> Eva.compute(chain.tree, FACTS, usual(), List.of(), EvaOptions.defaults()))
        .isInstanceOf(ConfigException.class)
        .hasMessage("EVA got no batch of data; give it some text to look at");
    assertThatThrownBy(() -> compute(usual().toBuilder().r(5).build(), EvaOptions.defaults()))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith(
            "block.q: 10 principal components are asked for but the inputs have 8 features");
    Tree embedding = Tree.empty().with("q", new Embedding(draw.normal(5, 4)));
    assertThatThrownBy(
            () -> Eva.compute(embedding, FACTS, usual(), batches(null), EvaOptions.defaults()))
        .isInstanceOf(TargetException.class);
  }

  @Test
  void wrong_components_leave_a_fresh_adapter_behind() {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    adapters.attach("default", usual(), 1);

    assertThatThrownBy(
            () -> Eva.initialise(adapters, "default", Map.of("block.q", eye(3, 5)), INIT))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("[3, 5] but [3, 8] is needed");

    assertThat(adapters.names()).containsExactly("default");
    assertThat(on(adapters, "block.q").a().size(0)).isEqualTo(2);
  }
}
