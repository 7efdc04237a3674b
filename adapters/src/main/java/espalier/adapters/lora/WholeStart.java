package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import espalier.nn.TransposedLinear;
import java.util.Objects;
import java.util.function.Function;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * How the factors on a split layer start: as on the whole layer, by rank 0's numbers. So an adapter
 * starts the same however many ranks there are, also where the start takes the weight apart.
 */
final class WholeStart {

  private WholeStart() {}

  /**
   * First factors A [r, in] and B [out, r] of the whole layer; the residual is this rank's part.
   */
  static LoraFactors of(
      LoraConfig config, Linear layer, String path, Init init, Partition partition) {
    return of(
        config,
        layer,
        partition,
        whole -> {
          LoraFactors factors = LoraStart.of(config, whole, path, init);
          return config.megatron().config() == null
              ? factors
              : megatron(config, factors, partition, init);
        });
  }

  /** The same with another start, which is shown the whole layer. */
  static LoraFactors of(
      LoraConfig config, Linear layer, Partition partition, Function<Linear, LoraFactors> start) {
    Shard shard = Objects.requireNonNull(partition.weight());
    try (Linear whole = whole(config, layer, shard)) {
      LoraFactors own = start.apply(whole);
      Tensor residual = agreed(own.residual(), partition);
      return new LoraFactors(
          Objects.requireNonNull(agreed(own.a(), partition)),
          Objects.requireNonNull(agreed(own.b(), partition)),
          agreed(own.bias(), partition),
          own.frozenB(),
          residual == null ? null : laidOut(layer, shard.of(residual)));
    }
  }

  /** First factors A [r, V] and B [D, r] of the whole embedding. */
  static LoraFactors of(
      LoraConfig config, Embedding layer, String path, Init init, Partition partition) {
    Shard shard = Objects.requireNonNull(partition.weight());
    try (var whole = new Embedding(weight(config, layer.weight(), shard))) {
      LoraFactors factors = LoraStart.of(config, whole, path, init);
      return new LoraFactors(
          Objects.requireNonNull(agreed(factors.a(), partition)),
          Objects.requireNonNull(agreed(factors.b(), partition)),
          null,
          factors.frozenB(),
          null);
    }
  }

  private static Linear whole(LoraConfig config, Linear layer, Shard shard) {
    Tensor weight = weight(config, layer.weight(), shard);
    return layer.transposed() ? new TransposedLinear(weight.t(), null) : new Linear(weight, null);
  }

  /** The whole weight, or where only its shape counts a stand-in without memory. */
  private static Tensor weight(LoraConfig config, Tensor part, Shard shard) {
    return readsWeight(config.init())
        ? shard.whole(part)
        : zeros(new long[] {1, 1}, part.options()).expand(shard.wholeShape(part.shape()));
  }

  private static boolean readsWeight(LoraInit init) {
    return switch (init) {
      case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian(), LoraInit.Orthogonal() ->
          false;
      default -> true;
    };
  }

  // Each rank has worked it out, but another machine's decomposition may differ in signs.
  private static @Nullable Tensor agreed(@Nullable Tensor own, Partition partition) {
    if (own == null) {
      return null;
    }
    Tensor all = own.contiguous();
    partition.ranks().broadcast(all);
    return all;
  }

  private static Tensor laidOut(Linear layer, Tensor residual) {
    return layer.transposed() ? residual.t().contiguous().t() : residual;
  }

  /**
   * With {@code init_lora_weights} false the parallel factor is drawn as Megatron does: by its
   * config's deviation, else by Xavier's rule.
   */
  private static LoraFactors megatron(
      LoraConfig config, LoraFactors factors, Partition partition, Init init) {
    if (!(config.init() instanceof LoraInit.Unset)) {
      return factors;
    }
    boolean row = Objects.requireNonNull(partition.weight()).dimension() == 1;
    Tensor fresh = row ? factors.a() : factors.b();
    Tensor drawn = init.normal(deviation(config, fresh), fresh.shape());
    return row
        ? new LoraFactors(drawn, factors.b(), factors.bias())
        : new LoraFactors(factors.a(), drawn, factors.bias());
  }

  private static double deviation(LoraConfig config, Tensor factor) {
    JsonNode said = Objects.requireNonNull(config.megatron().config()).get("init_method_std");
    return said != null && said.isNumber()
        ? said.doubleValue()
        : Math.sqrt(2.0 / (factor.size(0) + factor.size(1)));
  }
}
