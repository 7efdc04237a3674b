package espalier.nn.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Adaptable;
import espalier.nn.Collective;
import espalier.nn.Embedding;
import espalier.nn.Int8Weight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.ParallelStyle;
import espalier.nn.Partition;
import espalier.nn.Scope;
import espalier.nn.TransposedLinear;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A model that ranks compute together is the model that one computes. */
class ParallelPlanTest {

  private static final Duration PATIENCE = Duration.ofSeconds(20);

  private static final ParallelPlan PLAN =
      ParallelPlan.of(
          Map.of(
              "embed", "embedding_rowwise",
              "mlp.*.up", "colwise",
              "mlp.*.down", "rowwise",
              "head", "colwise_gather_output"));

  /** An embedding, two feed-forwards and a head. */
  private static final class Mlp extends Layer {
    private final Embedding embed;
    private final Linear[] up = new Linear[2];
    private final Linear[] down = new Linear[2];
    private final Linear head;

    Mlp(boolean transposed) {
      Generator draw = torch.createCPUGenerator(5);
      embed = child("embed", new Embedding(normal(draw, 12, 8), 3, 1.5));
      for (int i = 0; i < 2; i++) {
        up[i] = child("mlp." + i + ".up", linear(draw, transposed, 16, 8));
        down[i] = child("mlp." + i + ".down", linear(draw, transposed, 8, 16));
      }
      head = child("head", new Linear(normal(draw, 12, 8), normal(draw, 12)));
    }

    private static Linear linear(Generator draw, boolean transposed, long out, long in) {
      Tensor bias = normal(draw, out);
      return transposed
          ? new TransposedLinear(normal(draw, in, out), bias)
          : new Linear(normal(draw, out, in), bias);
    }

    Tensor forward(Tensor ids) {
      Tensor x = embed.forward(ids);
      for (int i = 0; i < 2; i++) {
        x = x.add(down[i].forward(up[i].forward(x).tanh()));
      }
      return head.forward(x);
    }
  }

  private static Tensor normal(Generator draw, long... shape) {
    return torch.empty(shape).normal_(0, 0.5, new GeneratorOptional(draw));
  }

  private static Tensor ids() {
    return Tensor.create(new long[] {0, 3, 7, 11, 5, 3}, 2, 3);
  }

  /** What came out, and the gradient of every weight, put together again. */
  private static Map<String, float[]> results(Mlp model) {
    var results = new LinkedHashMap<String, float[]>();
    try (var _ = Scope.graph()) {
      model.namedParameters().values().forEach(p -> p.set_requires_grad(true));
      Tensor y = model.forward(ids());
      results.put("y", numbers(y));
      y.mul(y).sum().backward();
      model
          .layers()
          .forEach(
              (path, layer) -> {
                if (layer instanceof Adaptable adaptable) {
                  var partition = adaptable.partition();
                  Tensor stored = Objects.requireNonNull(adaptable.parameters().get("weight"));
                  Tensor g = new Tensor(stored.grad());
                  Tensor logical = layer instanceof TransposedLinear ? g.t() : g;
                  var shard = partition == null ? null : partition.weight();
                  results.put(path, numbers(shard == null ? logical : shard.whole(logical)));
                  Tensor bias = adaptable.bias();
                  if (bias != null) {
                    var ofBias = partition == null ? null : partition.bias();
                    Tensor gb = new Tensor(bias.grad());
                    results.put(path + ".bias", numbers(ofBias == null ? gb : ofBias.whole(gb)));
                  }
                }
              });
      return results;
    }
  }

  private static float[] numbers(Tensor t) {
    var numbers = new float[(int) t.numel()];
    java.nio.FloatBuffer buffer = t.detach().contiguous().createBuffer();
    buffer.get(numbers);
    return numbers;
  }

  private static <T> List<T> ranks(int size, Function<Collective, T> body) {
    return InProcessCollective.run(size, PATIENCE, body);
  }

  private static void assertClose(Map<String, float[]> here, Map<String, float[]> there) {
    assertThat(here.keySet()).isEqualTo(there.keySet());
    here.forEach(
        (name, numbers) -> {
          float[] expected = Objects.requireNonNull(there.get(name));
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

  @ParameterizedTest
  @CsvSource({"1, false", "2, false", "4, false", "2, true", "4, true"})
  void several_ranks_compute_what_one_does(int size, boolean transposed) {
    Map<String, float[]> alone;
    try (var model = new Mlp(transposed)) {
      alone = results(model);
    }

    List<Map<String, float[]>> together =
        ranks(
            size,
            ranks -> {
              try (var model = new Mlp(transposed)) {
                PLAN.apply(model, ranks);
                return results(model);
              }
            });

    together.forEach(each -> assertClose(each, alone));
  }

  @Test
  void a_rank_keeps_only_its_part() {
    List<List<Long>> sizes =
        ranks(
            4,
            ranks -> {
              try (var model = new Mlp(false)) {
                PLAN.apply(model, ranks);
                return List.of(
                    model.embed.weight().numel(),
                    model.up[0].weight().numel(),
                    model.down[0].weight().numel(),
                    Objects.requireNonNull(model.down[0].bias()).numel());
              }
            });

    assertThat(sizes).containsOnly(List.of(24L, 32L, 32L, 8L));
  }

  @Test
  void layers_that_share_a_weight_share_the_part() {
    ParallelPlan plan =
        ParallelPlan.of(Map.of("a", "embedding_rowwise", "b", "colwise_gather_output"));

    List<Boolean> shared =
        ranks(
            2,
            ranks -> {
              try (var _ = Scope.open();
                  var model = new Pair()) {
                plan.apply(model, ranks);
                return model.a.weight().data_ptr().address()
                    == model.b.weight().data_ptr().address();
              }
            });

    assertThat(shared).containsOnly(true);
  }

  private static final class Pair extends Layer {
    private final Embedding a = child("a", new Embedding(torch.ones(4, 2)));
    private final Linear b = child("b", new Linear(a.weight(), null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"colwise", "rowwise", "embedding_rowwise", "embedding_colwise"})
  void a_size_that_can_not_be_split_evenly_is_refused(String style) {
    String path = style.startsWith("embedding") ? "embed" : "mlp.0.up";

    assertThatThrownBy(
            () ->
                ranks(
                    5,
                    ranks -> {
                      try (var model = new Mlp(false)) {
                        ParallelPlan.of(Map.of(path, style)).apply(model, ranks);
                        return 0;
                      }
                    }))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("no multiple of the 5 ranks")
        .hasMessageContaining(path);
  }

  @Test
  void a_plan_that_fails_leaves_the_model_whole() {
    ranks(
        2,
        ranks -> {
          try (var model = new Mlp(false)) {
            assertThatThrownBy(() -> PLAN.with("nowhere", ParallelStyle.ROW).apply(model, ranks))
                .hasMessageContaining("[nowhere]");
            assertThatThrownBy(() -> PLAN.with("embed", ParallelStyle.ROW).apply(model, ranks))
                .hasMessageContaining("embed is a Embedding, which can not be split rowwise");

            assertThat(model.up[0].partition()).isNull();
            assertThat(model.up[0].out()).isEqualTo(16);
            return 0;
          }
        });
  }

  @Test
  void a_layer_whose_bias_can_not_be_split_stays_whole() {
    ranks(
        2,
        ranks -> {
          try (var _ = Scope.open();
              var layer = new Linear(torch.ones(4, 2), torch.ones(3))) {
            var partition = new Partition(ranks, ParallelStyle.COLUMN);

            assertThatThrownBy(() -> layer.split(partition, null))
                .isInstanceOf(IllegalArgumentException.class);

            assertThat(layer.out()).isEqualTo(4);
            assertThat(layer.partition()).isNull();
            return 0;
          }
        });
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void layers_that_were_split_before_one_fails_are_whole_again(boolean transposed) {
    try (var _ = Scope.open();
        var model = new Mlp(transposed);
        var same = new Mlp(transposed)) {
      // the embedding and two parts of the first feed-forward, then no more
      assertThatThrownBy(() -> PLAN.apply(model, new Failing(3)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("asked too often");

      model
          .layers()
          .forEach(
              (path, layer) -> {
                if (layer instanceof Adaptable adaptable) {
                  var untouched = (Adaptable) Objects.requireNonNull(same.layers().get(path));
                  assertThat(adaptable.partition()).as(path).isNull();
                  assertThat(adaptable.weight().equal(untouched.weight())).as(path).isTrue();
                  assertThat(adaptable.weight().strides().vec().get())
                      .as(path)
                      .isEqualTo(untouched.weight().strides().vec().get());
                }
              });
      assertThat(model.forward(ids()).equal(same.forward(ids()))).isTrue();
      assertThatThrownBy(() -> PLAN.apply(model, new Failing(0)))
          .as("nothing is split, so the plan is tried again")
          .hasMessage("asked too often");
    }
  }

  /** Two ranks of which this one forgets after a while which it is. */
  private static final class Failing implements Collective {
    private int left;

    Failing(int answers) {
      left = answers;
    }

    @Override
    public int rank() {
      if (left-- == 0) {
        throw new IllegalStateException("asked too often");
      }
      return 1;
    }

    @Override
    public int size() {
      return 2;
    }

    @Override
    public void sum(Tensor tensor) {
      throw new UnsupportedOperationException("no rank computes");
    }

    @Override
    public void broadcast(Tensor tensor) {
      throw new UnsupportedOperationException("no rank computes");
    }

    @Override
    public Tensor gather(Tensor part) {
      throw new UnsupportedOperationException("no rank computes");
    }

    @Override
    public void close() {}
  }

  @Test
  void a_bias_that_can_not_be_split_is_refused_before_anything_changes() {
    try (var _ = Scope.open();
        var model = new Biased()) {
      var plan = ParallelPlan.of(Map.of("a", "colwise"));

      assertThatThrownBy(() -> plan.apply(model, new Failing(9)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "a has a bias [3], whose size is no multiple of the 2 ranks; take another number of"
                  + " ranks, or the layer out of the plan");
    }
  }

  private static final class Biased extends Layer {
    Biased() {
      child("a", new Linear(torch.ones(4, 2), torch.ones(3)));
    }
  }

  @Test
  void a_quantised_layer_is_not_split() {
    ranks(
        2,
        ranks -> {
          try (var _ = Scope.open();
              var model = new Coded()) {
            ParallelPlan plan = ParallelPlan.of(Map.of("a", "colwise"));

            assertThatThrownBy(() -> plan.apply(model, ranks))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("a is quantised as int8, of which a rank can not keep a part")
                .hasMessageContaining("load the model unquantised");
            assertThat(model.a.partition()).isNull();
            return 0;
          }
        });
  }

  private static final class Coded extends Layer {
    private final Linear a =
        child(
            "a",
            new Linear(
                Int8Weight.quantise(normal(torch.createCPUGenerator(2), 8, 8), ScalarType.Float),
                null));
  }

  @Test
  void an_unknown_style_is_refused_with_those_that_are_known() {
    assertThatThrownBy(() -> ParallelPlan.of(Map.of("a", "diagonal")))
        .hasMessageContaining("diagonal")
        .hasMessageContaining("colwise");
  }

  @Test
  void a_rank_that_fails_ends_the_others() {
    assertThatThrownBy(
            () ->
                ranks(
                    3,
                    ranks -> {
                      if (ranks.rank() == 1) {
                        throw new IllegalArgumentException("one is broken");
                      }
                      ranks.sum(torch.ones(1));
                      return 0;
                    }))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("one is broken");
  }

  @Test
  void a_rank_that_never_comes_is_an_error_and_not_a_hang() {
    assertThatThrownBy(
            () ->
                InProcessCollective.run(
                    2,
                    Duration.ofMillis(50),
                    ranks -> {
                      if (ranks.rank() == 0) {
                        ranks.sum(torch.ones(1));
                      }
                      return 0;
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("in vain");
  }
}
