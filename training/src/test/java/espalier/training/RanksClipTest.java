package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;

import espalier.nn.Collective;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.nn.Shard;
import espalier.nn.parallel.InProcessCollective;
import espalier.nn.parallel.ParallelPlan;
import espalier.text.Example;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Ranks clip their gradients as one rank does that has all of them. */
class RanksClipTest {

  private static final ParallelPlan PLAN =
      ParallelPlan.of(Map.of("up", "colwise", "down", "rowwise"));

  /** A feed-forward in float64: up and down may be split, head never is. */
  private static final class Mlp extends Layer {
    private final Linear up;
    private final Linear down;
    private final Linear head;

    Mlp() {
      Generator draw = createCPUGenerator(7);
      up = child("up", new Linear(normal(draw, 8, 6), normal(draw, 8)));
      down = child("down", new Linear(normal(draw, 6, 8), normal(draw, 6)));
      head = child("head", new Linear(normal(draw, 11, 6), null));
    }

    private static Tensor normal(Generator draw, long... shape) {
      return empty(shape).to(ScalarType.Double).normal_(0, 1, new GeneratorOptional(draw));
    }
  }

  /** Its weights train. */
  private record Trained(Mlp mlp, @Nullable Collective ranks) implements Trainee, AutoCloseable {

    static Trained on(@Nullable Collective ranks) {
      var mlp = new Mlp();
      if (ranks != null) {
        PLAN.apply(mlp, ranks);
      }
      var trained = new Trained(mlp, ranks);
      trained.parameters().values().forEach(p -> p.set_requires_grad(true));
      return trained;
    }

    @Override
    public Tensor lossSum(Batch batch) {
      Tensor x = mlp.head.weight().detach().index_select(0, batch.inputIds().view(-1));
      Tensor z = mlp.head.forward(x.add(mlp.down.forward(mlp.up.forward(x).tanh())));
      Tensor judged = z.index_select(0, batch.sources()).log_softmax(-1);
      return judged.gather(1, batch.targets().unsqueeze(1)).sum().neg();
    }

    @Override
    public Judged judge(Batch batch) {
      return new Judged(0, 0);
    }

    @Override
    public Map<String, Tensor> parameters() {
      var all = new LinkedHashMap<String, Tensor>();
      mlp.namedParameters().forEach(all::put);
      return all;
    }

    @Override
    public Map<String, Shard> shards() {
      return ranks == null
          ? Map.of()
          : Map.of(
              "up.weight", new Shard(ranks, 0),
              "up.bias", new Shard(ranks, 0),
              "down.weight", new Shard(ranks, 1));
    }

    @Override
    public void train(boolean on) {}

    @Override
    public void close() {
      mlp.close();
    }
  }

  /**
   * What a step did.
   *
   * @param change what the parameters lost in a step at rate 1, which is their clipped gradient
   */
  private record Stepped(Trainer.Step step, Map<String, double[]> change) {}

  private static Stepped step(@Nullable Collective ranks, double bound) {
    var example = new Example(new int[] {1, 4, 9, 2, 7}, new int[] {1, 4, 9, 2, 7});
    try (var _ = Scope.open();
        var model = Trained.on(ranks);
        var sgd = new Sgd(List.of(new ParameterGroup("all", model.parameters(), 1, 0)), 0)) {
      var before = new LinkedHashMap<String, Tensor>();
      model.parameters().forEach((name, p) -> before.put(name, p.detach().clone()));

      Trainer.Step done =
          new Trainer(model, sgd, bound).step(List.of(Batch.padded(List.of(example), 0)), 1);

      var change = new LinkedHashMap<String, double[]>();
      model
          .parameters()
          .forEach(
              (name, p) -> {
                Tensor lost = Objects.requireNonNull(before.get(name)).sub(p.detach());
                Shard shard = model.shards().get(name);
                change.put(name, numbers(shard == null ? lost : shard.whole(lost)));
              });
      return new Stepped(done, change);
    }
  }

  private static double[] numbers(Tensor tensor) {
    var numbers = new double[(int) tensor.numel()];
    java.nio.DoubleBuffer buffer = tensor.contiguous().createBuffer();
    buffer.get(numbers);
    return numbers;
  }

  private static List<Stepped> together(int size, double bound) {
    return InProcessCollective.run(size, Duration.ofSeconds(20), ranks -> step(ranks, bound));
  }

  private static double gap(double[] a, double[] b) {
    double gap = 0;
    for (int i = 0; i < a.length; i++) {
      gap = Math.max(gap, Math.abs(a[i] - b[i]));
    }
    return gap;
  }

  @ParameterizedTest(name = "{0} ranks, clipped to {1}")
  @CsvSource({"2, 0.5", "2, 0", "2, 1000", "1, 0.5"})
  void ranks_clip_as_one_model_that_is_whole(int size, double bound) {
    Stepped alone = step(null, bound);

    List<Stepped> all = together(size, bound);

    assertThat(alone.step().gradNorm()).isBetween(0.6, 100.0);
    for (Stepped each : all) {
      assertThat(Math.abs(each.step().gradNorm() - alone.step().gradNorm())).isLessThan(1e-12);
      alone
          .change()
          .forEach(
              (name, numbers) ->
                  assertThat(gap(Objects.requireNonNull(each.change().get(name)), numbers))
                      .as(name)
                      .isLessThan(1e-12));
    }
  }

  @Test
  void every_rank_clips_by_the_same_bits() {
    List<Stepped> all = together(2, 0.5);

    assertThat(all.get(0).step().gradNorm()).isEqualTo(all.get(1).step().gradNorm());
    assertThat(all.get(0).change().get("head.weight"))
        .isEqualTo(all.get(1).change().get("head.weight"));
  }

  @ParameterizedTest
  @ValueSource(doubles = {Double.NaN, Double.POSITIVE_INFINITY})
  void a_gradient_that_is_not_finite_on_one_rank_is_seen_on_all(double bad) {
    List<Double> norms =
        InProcessCollective.run(
            2,
            Duration.ofSeconds(20),
            ranks -> {
              try (var _ = Scope.graph()) {
                Tensor p = empty(3).fill_(new Scalar(1)).set_requires_grad(true);
                p.mul(new Scalar(ranks.rank() == 1 ? bad : 1)).sum().backward();
                var split = Map.of("p", new Shard(ranks, 0));
                return RanksClip.clip(Map.of("p", p), split.keySet(), ranks, 1);
              }
            });

    assertThat(norms).noneMatch(Double::isFinite);
  }
}
