package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterFormat;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NotFiniteException;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.TokenRows;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.hira.HiraConfig;
import espalier.nn.Adapter;
import espalier.nn.Collective;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.ParallelStyle;
import espalier.nn.Scope;
import espalier.nn.TransposedLinear;
import espalier.nn.parallel.InProcessCollective;
import espalier.nn.parallel.ParallelPlan;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.node.JsonNodeFactory;

/** LoRA on a model that several ranks compute: the numbers and the files of one rank. */
class ParallelLoraTest {

  private static final ParallelPlan PLAN =
      ParallelPlan.of(
          Map.of(
              "embed", "embedding_rowwise",
              "up", "colwise",
              "down", "rowwise",
              "head", "colwise_gather_output"));

  private static final ParallelPlan MEGATRON =
      PLAN.with("up", ParallelStyle.COLUMN_GATHERED).with("down", ParallelStyle.ROW_SPLIT_INPUT);

  /** A model of an embedding, a feed-forward and a head. */
  private record Net(Tree tree, Adapters adapters) implements AutoCloseable {

    static Net of(boolean transposed) {
      var draw = new Tree.Draw(4);
      Tree tree =
          Tree.empty()
              .with("embed", new Embedding(draw.normal(12, 8)))
              .with("up", linear(draw, 16, 8, transposed))
              .with("down", linear(draw, 8, 16, transposed))
              .with("head", new Linear(draw.normal(12, 8), draw.normal(12)));
      return new Net(
          tree, Adapters.of(tree, ModelFacts.of("llama").withEmbeddings("embed", "head")));
    }

    private static Linear linear(Tree.Draw draw, long out, long in, boolean transposed) {
      Tensor bias = draw.normal(out);
      return transposed
          ? new TransposedLinear(draw.normal(in, out), bias)
          : new Linear(draw.normal(out, in), bias);
    }

    float[] output() {
      try (var _ = Scope.open();
          var _ = new NoGradGuard()) {
        return numbers(forward());
      }
    }

    Tensor forward() {
      Tensor ids = Tensor.create(new long[] {0, 3, 7, 11, 5, 3}, 2, 3);
      Tensor x = tree.at("embed").forward(ids);
      Tensor inner = tree.at("up").forward(x).tanh();
      return tree.at("head").forward(x.add(tree.at("down").forward(inner)));
    }

    /** Some steps of plain gradient descent on a loss that all of the output takes part in. */
    void train(int steps) {
      for (int i = 0; i < steps; i++) {
        try (var _ = Scope.graph()) {
          forward().tanh().sum().mul(new Scalar(0.1)).backward();
          try (var _ = new NoGradGuard()) {
            for (Tensor p : adapters.parameters().values()) {
              p.sub_(new Tensor(p.grad()).mul(new Scalar(0.05)));
              p.mutable_grad().reset();
            }
          }
        }
      }
    }

    @Override
    public void close() {
      tree.close();
    }
  }

  private static <T extends @Nullable Object> List<T> ranks(
      int size, Function<Collective, T> body) {
    return InProcessCollective.run(
        size,
        Duration.ofSeconds(30),
        ranks -> {
          try (var _ = Scope.open()) {
            return body.apply(ranks);
          }
        });
  }

  private static LoraConfigBuilder config() {
    return LoraConfig.builder()
        .r(4)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named("embed", "up", "down", "head"));
  }

  private static Map<String, float[]> numbers(Map<String, Tensor> tensors) {
    var numbers = new LinkedHashMap<String, float[]>();
    tensors.forEach((key, tensor) -> numbers.put(key, numbers(tensor)));
    return numbers;
  }

  private static float[] numbers(Tensor tensor) {
    var numbers = new float[(int) tensor.numel()];
    FloatBuffer buffer = tensor.detach().contiguous().createBuffer();
    buffer.get(numbers);
    return numbers;
  }

  private static void assertClose(Map<String, float[]> here, Map<String, float[]> there) {
    assertThat(here.keySet()).containsExactlyElementsOf(there.keySet());
    here.forEach(
        (name, numbers) -> {
          float[] expected = there(there.get(name));
          double largest = 1;
          double gap = 0;
          assertThat(numbers).as(name).hasSameSizeAs(expected);
          for (int i = 0; i < numbers.length; i++) {
            largest = Math.max(largest, Math.abs(expected[i]));
            gap = Math.max(gap, Math.abs(numbers[i] - expected[i]));
          }
          assertThat(gap).as(name).isLessThan(1e-5 * largest);
        });
  }

  /** Output, gradients, trained tensors after some steps, and the merged output. */
  private static Map<String, float[]> life(Net net, AdapterConfig config) {
    var life = new LinkedHashMap<String, float[]>();
    net.adapters().attach("one", config, 3);
    life.putAll(numbers(net.adapters().state("one")));
    life.put("first output", net.output());
    net.train(3);
    numbers(net.adapters().state("one")).forEach((key, t) -> life.put("trained " + key, t));
    life.put("output", net.output());
    net.adapters().merge(true);
    life.put("merged output", net.output());
    net.adapters().unmerge();
    return life;
  }

  private static LoraConfig megatron(UnaryOperator<LoraConfigBuilder> change) {
    var fields = JsonNodeFactory.instance.objectNode().put("hidden_size", 8);
    return change
        .apply(
            config().init(new LoraInit.Uniform()).megatron(new Megatron(fields, "megatron.core")))
        .build();
  }

  static Stream<Arguments> lives() {
    var blocks = new LoraVariant.Bdlora(List.of("down"), List.of("up"), 4, false);
    return Stream.of(
            Arguments.of("plain", config().build(), PLAN, false),
            Arguments.of("transposed", config().build(), PLAN, true),
            Arguments.of("rsLoRA", config().rslora(true).alpha(3).build(), PLAN, false),
            Arguments.of(
                "with a bias",
                config().loraBias(true).targets(Targets.named("up", "down", "head")).build(),
                PLAN,
                false),
            Arguments.of("trained biases", config().bias(BiasTraining.ALL).build(), PLAN, false),
            Arguments.of(
                "a saved head",
                config().targets(Targets.named("up", "down").saving("head")).build(),
                PLAN,
                false),
            Arguments.of(
                "a saved Conv1D",
                config().targets(Targets.named("down").saving("up")).build(),
                PLAN,
                true),
            Arguments.of(
                "blocks",
                config().targets(Targets.named("up", "down")).variant(blocks).build(),
                PLAN,
                false),
            Arguments.of("gathered without megatron", config().build(), MEGATRON, false),
            Arguments.of(
                "megatron", megatron(c -> c.targets(Targets.named("up", "down"))), PLAN, false),
            Arguments.of(
                "megatron gathered",
                megatron(c -> c.targets(Targets.named("up", "down", "head"))),
                MEGATRON,
                false))
        .flatMap(
            each ->
                Stream.of(2, 4)
                    .map(
                        size ->
                            Arguments.of(
                                each.get()[0], size, each.get()[1], each.get()[2], each.get()[3])));
  }

  @ParameterizedTest(name = "{0}, {1} ranks")
  @MethodSource("lives")
  void several_ranks_learn_what_one_does(
      String what, int size, LoraConfig config, ParallelPlan plan, boolean transposed) {
    Map<String, float[]> alone;
    try (var _ = Scope.open();
        var net = Net.of(transposed)) {
      alone = life(net, config);
    }

    List<Map<String, float[]>> together =
        ranks(
            size,
            ranks -> {
              try (var net = Net.of(transposed)) {
                plan.apply(net.tree(), ranks);
                return life(net, config);
              }
            });

    assertThat(alone.get("output")).as(what).isNotEqualTo(alone.get("first output"));
    together.forEach(each -> assertClose(each, alone));
  }

  static Stream<LoraInit> starts() {
    return Stream.of(
        new LoraInit.Uniform(),
        new LoraInit.Unset(),
        new LoraInit.Gaussian(),
        new LoraInit.Orthogonal(),
        new LoraInit.Pissa(),
        new LoraInit.FastPissa(2),
        new LoraInit.Olora(),
        new LoraInit.Mica(),
        new LoraInit.Loftq(4, 1));
  }

  @ParameterizedTest
  @MethodSource("starts")
  void all_ranks_start_alike_whatever_each_would_have_drawn(LoraInit start) {
    boolean onEmbeddings =
        switch (start) {
          case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian(), LoraInit.Mica() -> true;
          default -> false;
        };
    Targets linear = Targets.named("up", "down", "head");
    Targets all = Targets.named("embed", "up", "down", "head");
    LoraConfig config = config().init(start).targets(onEmbeddings ? all : linear).build();

    List<Map<String, float[]>> together =
        ranks(
            2,
            ranks -> {
              try (var net = Net.of(false)) {
                PLAN.apply(net.tree(), ranks);
                net.adapters().attach("one", config, ranks.rank());
                Map<String, float[]> told = numbers(net.adapters().state("one"));
                net.adapters()
                    .on("one")
                    .forEach(
                        (path, adapter) ->
                            adapter
                                .state()
                                .forEach(
                                    (name, tensor) -> {
                                      if (adapter.shard(name) == null) {
                                        told.put("whole " + path + name, numbers(tensor));
                                      }
                                    }));
                return told;
              }
            });

    assertThat(together.get(0).keySet()).anyMatch(name -> name.startsWith("whole up"));
    assertThat(together.get(0).containsKey("whole embedlora_embedding_B")).isEqualTo(onEmbeddings);
    together
        .get(0)
        .forEach((name, numbers) -> assertThat(together.get(1).get(name)).isEqualTo(numbers));
  }

  @ParameterizedTest
  @MethodSource("starts")
  void a_start_is_that_of_one_rank(LoraInit start) {
    LoraConfig config = config().init(start).targets(Targets.named("up", "down", "head")).build();
    Map<String, float[]> alone;
    float[] output;
    try (var _ = Scope.open();
        var net = Net.of(false)) {
      net.adapters().attach("one", config, 3);
      alone = numbers(net.adapters().contents("one", SaveStart.AUTO).tensors());
      output = net.output();
    }

    ranks(
        4,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            net.adapters().attach("one", config, 3);

            Map<String, float[]> here =
                numbers(net.adapters().contents("one", SaveStart.AUTO).tensors());
            assertThat(here.keySet()).containsExactlyElementsOf(alone.keySet());
            alone.forEach((key, numbers) -> assertThat(here.get(key)).as(key).isEqualTo(numbers));
            assertClose(Map.of("y", net.output()), Map.of("y", output));
            return 0;
          }
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4})
  void a_file_of_two_ranks_loads_on_any_number_bit_for_bit(int size) {
    LoraConfig config =
        config().loraBias(true).targets(Targets.named("up", "down", "head")).build();
    Map<String, float[]> written =
        ranks(
                2,
                ranks -> {
                  try (var net = Net.of(false)) {
                    PLAN.apply(net.tree(), ranks);
                    net.adapters().attach("one", config, 3);
                    net.train(2);
                    return numbers(net.adapters().state("one", SaveEmbeddings.YES));
                  }
                })
            .getFirst();

    ranks(
        size,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            Map<String, Tensor> file = whole(written);

            net.adapters().load("one", config, file, LoadOptions.defaults());

            Map<String, float[]> read = numbers(net.adapters().state("one", SaveEmbeddings.YES));
            assertThat(read.keySet()).containsExactlyElementsOf(written.keySet());
            written.forEach((key, t) -> assertThat(read.get(key)).as(key).isEqualTo(t));
            return 0;
          }
        });
  }

  /** The tensors that a file has, in the shapes of one rank. */
  private static Map<String, Tensor> whole(Map<String, float[]> numbers) {
    var file = new LinkedHashMap<String, Tensor>();
    numbers.forEach(
        (key, values) -> {
          long rows =
              key.endsWith("lora_A.weight")
                  ? 4
                  : key.contains("up") ? 16 : key.contains("down") ? 8 : 12;
          Tensor flat = Tensor.create(values);
          file.put(key, key.endsWith("bias") ? flat : flat.view(rows, -1));
        });
    return file;
  }

  @Test
  void embeddings_that_are_saved_along_are_split_too() {
    LoraConfig config = config().targets(Targets.named("up")).build();
    var changed = new Tree.Draw(99).normal(12, 8);
    float[] expected = numbers(changed);

    ranks(
        4,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            net.adapters().attach("one", config, 3);
            Map<String, Tensor> file = net.adapters().state("one", SaveEmbeddings.YES);
            assertThat(there(file.get("base_model.model.embed.weight")).shape())
                .containsExactly(12, 8);
            file.put("base_model.model.embed.weight", changed);

            net.adapters().load("two", config, file, LoadOptions.defaults());

            assertThat(net.tree().at("embed").weight().shape()).containsExactly(3, 8);
            assertThat(
                    numbers(
                        there(
                            net.adapters()
                                .state("one", SaveEmbeddings.YES)
                                .get("base_model.model.embed.weight"))))
                .isEqualTo(expected);
            return 0;
          }
        });
  }

  @Test
  void a_tensor_of_another_size_is_refused_with_the_sizes_of_the_whole() {
    ranks(
        2,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            LoraConfig config = config().targets(Targets.named("up")).build();
            var file =
                Map.of(
                    "up.lora_A.weight", new Tree.Draw(1).normal(4, 8),
                    "up.lora_B.weight", new Tree.Draw(1).normal(15, 4));

            assertThatThrownBy(
                    () -> net.adapters().load("one", config, file, LoadOptions.defaults()))
                .hasMessageContaining("[15, 4] in the file but [16, 4] here");
            assertThat(net.adapters().names()).isEmpty();
            return 0;
          }
        });
  }

  @Test
  void a_plan_that_lora_does_not_know_is_told_and_the_adapter_stays_whole() {
    ranks(
        2,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);

            var attached =
                net.adapters().attach("one", config().targets(Targets.named("head")).build(), 1);

            assertThat(attached.warnings()).anyMatch(w -> w.contains("colwise_gather_output"));
            Adapter adapter = there(net.adapters().on("one").get("head"));
            assertThat(adapter.state().keySet()).allMatch(name -> adapter.shard(name) == null);
            return 0;
          }
        });
  }

  private static void assertRefused(
      ParallelPlan plan, boolean transposed, AdapterConfig config, Class<?> kind, String part) {
    ranks(
        2,
        ranks -> {
          try (var net = Net.of(transposed)) {
            plan.apply(net.tree(), ranks);

            assertThatThrownBy(() -> net.adapters().attach("one", config, 1))
                .isInstanceOf(kind)
                .hasMessageContaining(part);
            assertThat(net.adapters().names()).isEmpty();
            return 0;
          }
        });
  }

  @Test
  void an_embedding_with_another_plan_is_refused() {
    assertRefused(
        PLAN.with("embed", ParallelStyle.EMBEDDING_COLUMN),
        false,
        config().targets(Targets.named("embed")).build(),
        UnsupportedAdapterException.class,
        "use embedding_rowwise");
  }

  @Test
  void what_does_not_exist_on_split_layers_is_refused() {
    var unsupported = UnsupportedAdapterException.class;
    Targets up = Targets.named("up");
    assertRefused(
        PLAN,
        false,
        config().init(new LoraInit.Uniform()).variant(new LoraVariant.Dora()).targets(up).build(),
        unsupported,
        "use_dora");
    assertRefused(
        PLAN,
        false,
        HiraConfig.defaults().withTargets(up),
        unsupported,
        "where HIRA does not exist");
    assertRefused(
        PLAN, false, megatron(c -> c.targets(up).loraBias(true)), unsupported, "lora_bias");
    assertRefused(
        PLAN,
        false,
        megatron(c -> c.targets(up).variant(new LoraVariant.Velora(2, 1, "random"))),
        unsupported,
        "velora");
    assertRefused(PLAN, true, megatron(c -> c.targets(up)), unsupported, "stored as [in, out]");
  }

  static Stream<AdapterConfig> otherMethods() {
    var blank = JsonNodeFactory.instance.objectNode().put("target_modules", "up").put("r", 4);
    blank.put("total_step", 9).put("oft_block_size", 0); // AdaLoRA and OFT have to know
    return AdapterCatalog.standard().formats().stream()
        .map(AdapterFormat::peftType)
        .filter(type -> !type.equals("LORA"))
        .map(type -> AdapterCatalog.standard().read(blank.deepCopy().put("peft_type", type)))
        .map(AdapterCatalog.Read::config);
  }

  @ParameterizedTest
  @MethodSource("otherMethods")
  void every_other_method_is_refused_by_name(AdapterConfig config) {
    assertRefused(
        PLAN,
        false,
        config,
        UnsupportedAdapterException.class,
        "up is split colwise over 2 ranks, where %s does not exist; use LORA, or take"
            .formatted(config.peftType()));
  }

  static Stream<LoraVariant> otherVariants() {
    return Stream.of(
        new LoraVariant.Dora(),
        new LoraVariant.Velora(2, 1, "random"),
        new LoraVariant.Alora(List.of(3)),
        new LoraVariant.Monteclora(2, false, 1, 1, 1, 1),
        new LoraVariant.Kasa(1, 1),
        new LoraVariant.Qalora(false));
  }

  @ParameterizedTest
  @MethodSource("otherVariants")
  void every_other_variant_is_refused_by_its_field(LoraVariant variant) {
    for (String layer : List.of("up", "down")) {
      assertRefused(
          PLAN,
          false,
          config()
              .init(new LoraInit.Uniform())
              .variant(variant)
              .targets(Targets.named(layer))
              .build(),
          UnsupportedAdapterException.class,
          "where %s does not exist; leave it or the layer out".formatted(variant.field()));
    }
  }

  @Test
  void rows_of_tokens_are_refused_on_split_layers() {
    Targets up = Targets.named("up");
    assertRefused(
        PLAN,
        false,
        config().targets(up).tokens(new TokenRows.OfInput(List.of(1, 3))).build(),
        UnsupportedAdapterException.class,
        "embed is split embedding_rowwise over 2 ranks, where trainable_token_indices does not"
            + " exist; take the layer out of the plan");
  }

  @Test
  void blocks_that_the_ranks_can_not_share_are_refused() {
    var odd = new LoraVariant.Bdlora(List.of(), List.of("up"), 1, false);
    var across = new LoraVariant.Bdlora(List.of("up"), List.of(), 2, false);

    assertRefused(
        PLAN,
        false,
        config().targets(Targets.named("up")).variant(odd).build(),
        ConfigException.class,
        "nblocks 1");
    assertRefused(
        PLAN,
        false,
        config().targets(Targets.named("up")).variant(across).build(),
        UnsupportedAdapterException.class,
        "blocks in A");
  }

  @Test
  void rows_of_a_batch_have_their_own_adapters_but_not_with_megatron() {
    LoraConfig config = config().targets(Targets.named("up", "down")).build();
    float[] alone;
    try (var _ = Scope.open();
        var net = Net.of(false)) {
      alone = mixed(net, config);
    }

    ranks(
        2,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            assertClose(Map.of("y", mixed(net, config)), Map.of("y", alone));
          }
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            assertThatThrownBy(
                    () -> mixed(net, megatron(c -> c.targets(Targets.named("up", "down")))))
                .hasMessageContaining("megatron_config");
          }
          return 0;
        });
  }

  private static float[] mixed(Net net, LoraConfig config) {
    net.adapters().attach("one", config, 1);
    net.adapters().add("two", config, AttachOptions.of(InitSource.seeded(2)));
    return net.adapters().mixed(List.of("two", "one"), 2, net::output);
  }

  @Test
  void a_merge_that_is_not_finite_on_one_rank_happens_on_none() {
    ranks(
        2,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            net.adapters().attach("one", config().targets(Targets.named("up")).build(), 1);
            if (ranks.rank() == 1) {
              Tensor b =
                  there(there(net.adapters().on("one").get("up")).state().get("lora_B.weight"));
              try (var _ = new NoGradGuard()) {
                b.fill_(new Scalar(Double.NaN));
              }
            }

            assertThatThrownBy(() -> net.adapters().merge(true))
                .isInstanceOf(NotFiniteException.class);
            assertThat(net.adapters().merged()).isEmpty();
            return 0;
          }
        });
  }

  @Test
  void dropout_drops_the_same_inputs_on_all_ranks() {
    LoraConfig config = config().dropout(0.5).targets(Targets.named("up", "down")).build();

    List<Map<String, float[]>> together =
        ranks(
            2,
            ranks -> {
              try (var net = Net.of(false)) {
                PLAN.apply(net.tree(), ranks);
                net.adapters().attach("one", config, 3);
                net.tree().train(true);
                net.train(3);
                Map<String, float[]> kept = new LinkedHashMap<>();
                net.adapters()
                    .on("one")
                    .forEach(
                        (path, adapter) ->
                            adapter
                                .state()
                                .forEach(
                                    (name, t) -> {
                                      if (adapter.shard(name) == null) {
                                        kept.put(path + "." + name, numbers(t));
                                      }
                                    }));
                return kept;
              }
            });

    assertThat(together.get(0).keySet())
        .containsExactlyInAnyOrder("up.lora_A.weight", "down.lora_B.weight");
    together
        .get(0)
        .forEach((name, numbers) -> assertThat(together.get(1).get(name)).isEqualTo(numbers));
  }

  @Test
  void with_megatron_the_split_factor_is_drawn_by_its_config_or_by_xavier() {
    Targets both = Targets.named("up", "down");
    LoraConfig xavier = megatron(c -> c.targets(both).init(new LoraInit.Unset()));
    var fields = JsonNodeFactory.instance.objectNode().put("init_method_std", 1e-3);
    LoraConfig small = xavier.toBuilder().megatron(new Megatron(fields, "megatron.core")).build();

    ranks(
        2,
        ranks -> {
          try (var net = Net.of(false)) {
            PLAN.apply(net.tree(), ranks);
            net.adapters().attach("one", xavier, 1);
            net.adapters().add("two", small, AttachOptions.seeded(1));
            Map<String, Tensor> one = net.adapters().state("one");
            Map<String, Tensor> two = net.adapters().state("two");

            for (String split : List.of("up.lora_B.weight", "down.lora_A.weight")) {
              double deviation = deviation(one, split);
              assertThat(deviation).isBetween(0.25, 0.4); // √(2 / (4 + 16)) = 0.316
              assertThat(deviation(two, split)).isBetween(0.7e-3, 1.3e-3);
            }
            for (String whole : List.of("up.lora_A.weight", "down.lora_B.weight")) {
              assertThat(deviation(two, whole)).isGreaterThan(0.1);
            }
            return 0;
          }
        });
  }

  private static double deviation(Map<String, Tensor> state, String name) {
    return there(state.get("base_model.model." + name)).std().item_double();
  }
}
