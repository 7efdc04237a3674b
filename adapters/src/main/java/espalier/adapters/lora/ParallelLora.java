package espalier.adapters.lora;

import espalier.nn.Exchange;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on a split linear layer. Along the outputs: A is the same on all ranks, B is split, and the
 * gradients of A x are summed. Along the inputs: A is split, the partial A x are summed, and B is
 * the same on all ranks. So one sum of width r goes over the ranks each way.
 */
class ParallelLora extends LoraLinear {

  private final Partition partition;
  private final boolean megatron;

  ParallelLora(LoraConfig config, Linear layer, String path, Init init, Partition partition) {
    super(config, layer, path, parts(config, layer, path, init, partition));
    this.partition = partition;
    megatron = config.megatron().config() != null;
  }

  private static LoraFactors parts(
      LoraConfig config, Linear layer, String path, Init init, Partition partition) {
    LoraFactors whole = WholeStart.of(config, layer, path, init, partition);
    Tensor bias = whole.bias();
    return new LoraFactors(
        part("lora_A.weight", whole.a(), partition),
        part("lora_B.weight", whole.b(), partition),
        bias == null ? null : part("lora_B.bias", bias, partition),
        whole.frozenB(),
        whole.residual());
  }

  private static Tensor part(String name, Tensor whole, Partition partition) {
    Shard shard = shard(name, partition);
    return shard == null ? whole : shard.of(whole);
  }

  private static @Nullable Shard shard(String name, Partition partition) {
    boolean alongOutputs =
        switch (partition.style()) {
          case COLUMN, COLUMN_GATHERED -> true;
          default -> false;
        };
    return switch (name) {
      case "lora_A.weight" -> alongOutputs ? null : new Shard(partition.ranks(), 1);
      case "lora_B.weight", "lora_B.bias" -> alongOutputs ? new Shard(partition.ranks(), 0) : null;
      default -> null;
    };
  }

  @Override
  public final @Nullable Shard shard(String name) {
    return shard(name, partition);
  }

  final Partition partition() {
    return partition;
  }

  @Override
  Tensor hidden(Tensor kept) {
    return switch (partition.style()) {
      case COLUMN, COLUMN_GATHERED -> Exchange.copied(partition.ranks(), super.hidden(kept));
      case ROW_SPLIT_INPUT ->
          Exchange.summed(partition.ranks(), super.hidden(Exchange.own(partition.ranks(), kept)));
      default -> Exchange.summed(partition.ranks(), super.hidden(kept));
    };
  }

  @Override
  public final @Nullable String rowsRefusal() {
    return megatron ? "layers with megatron_config know no rows of different adapters" : null;
  }
}
