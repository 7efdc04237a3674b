package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraInit.Direction;
import espalier.adapters.lora.LoraInit.Scale;
import espalier.adapters.lora.LoraLinear;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Which singular triplets each direction takes, told by a gradient that is put together out of
 * known ones: G = U·diag(σ)·Vᵀ, so that Uᵀ·B·A·V has an entry where a triplet was taken and zeros
 * elsewhere.
 */
class LoraGaDirectionsTest {

  private static final int OUT = 40;
  private static final int IN = 28;

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.open();
  private final Tensor u = orthonormal(OUT); // [out, in]
  private final Tensor v = orthonormal(IN); // [in, in]
  private final double[] sigma =
      IntStream.range(0, IN).mapToDouble(i -> Math.pow(0.6, i)).toArray();

  private Tensor orthonormal(int rows) {
    return new Tensor(torch.linalg_qr(draw.normal(rows, IN).to(ScalarType.Double)).get0());
  }

  private LoraLinear start(Direction direction, int r, long seed) {
    Tree tree = Tree.empty().with("layer", new Linear(draw.normal(OUT, IN), null));
    LoraConfig config =
        LoraConfig.builder()
            .r(r)
            .alpha(r)
            .targets(Targets.named("layer"))
            .init(new LoraInit.LoraGa(direction, Scale.UNIT, 16))
            .build();
    Tensor gradient = u.mul(Tensor.create(sigma, IN)).matmul(v.t()).to(ScalarType.Float);
    var init =
        InitSource.seeded(seed)
            .withPrepared(Map.of("layer", Map.of(LoraInit.LoraGa.GRADIENT, gradient)));
    Adapters adapters = Adapters.of(tree, ModelFacts.of("chain"));
    adapters.attach("default", config, AttachOptions.of(init));
    return (LoraLinear) Objects.requireNonNull(adapters.on("default").get("layer"));
  }

  /** Uᵀ·B·A·V, [in, in]. */
  private Tensor taken(LoraLinear lora) {
    try (var _ = new NoGradGuard()) {
      return u.t().matmul(lora.deltaWeight().to(ScalarType.Double)).matmul(v);
    }
  }

  private static List<Integer> indexes(String text) {
    return List.of(text.split(" ")).stream().map(Integer::valueOf).toList();
  }

  @ParameterizedTest
  @CsvSource({
    "AR_BR, 1, 1, 0",
    "AR_BR, 3, 1 3 5, 0 2 4",
    "A2R_BR, 1, 1, 0",
    "A2R_BR, 3, 3 4 5, 0 1 2",
    "AR_B2R, 1, 0, 1",
    "AR_B2R, 3, 0 1 2, 3 4 5"
  })
  void the_factors_are_those_of_the_triplets_that_a_direction_names(
      Direction direction, int r, String ofA, String ofB) {
    Tensor want = torch.zeros(new long[] {IN, IN}).to(ScalarType.Double);
    for (int i = 0; i < r; i++) {
      int b = indexes(ofB).get(i);
      want.select(0, b).select(0, indexes(ofA).get(i)).fill_(new Scalar(sigma[b]));
    }

    LoraLinear lora = start(direction, r, 1);

    assertThat(taken(lora).abs().sub(want).abs().max().item_double()).isLessThan(1e-4);
    assertThat(lora.a().square().sum(1).sub(new Scalar(1)).abs().max().item_double())
        .isLessThan(1e-5);
  }

  @Test
  void the_random_direction_takes_whole_triplets_and_in_time_each_of_the_first_2r() {
    var sets = new TreeSet<String>();
    var seen = new TreeSet<Integer>();
    for (int seed = 0; seed < 24; seed++) {
      Tensor taken = taken(start(Direction.RANDOM, 2, seed));
      var indexes = new ArrayList<Integer>();
      for (int i = 0; i < IN; i++) {
        double entry = taken.select(0, i).select(0, i).item_double();
        if (Math.abs(entry) > 0.1) {
          assertThat(entry).isCloseTo(sigma[i], within(1e-4)); // signs of u and v belong together
          indexes.add(i);
          taken.select(0, i).select(0, i).zero_();
        }
      }
      assertThat(indexes).hasSize(2);
      assertThat(taken.abs().max().item_double()).isLessThan(1e-4);
      sets.add(indexes.toString());
      seen.addAll(indexes);
    }

    assertThat(seen).containsExactly(0, 1, 2, 3);
    assertThat(sets).hasSizeGreaterThan(3); // of six
  }
}
