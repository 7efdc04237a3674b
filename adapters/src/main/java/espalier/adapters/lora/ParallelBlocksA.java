package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;

import espalier.nn.Exchange;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * BD-LoRA on a layer that is split along its inputs: each rank has its blocks of A and the columns
 * of B beside them, and the branch joins the layer's own sum. The ranks say nothing more to each
 * other than without an adapter.
 */
final class ParallelBlocksA extends LoraLinear {

  private final Partition partition;
  private final int blocks; // of this rank

  ParallelBlocksA(
      LoraConfig config, Linear layer, String path, Init init, Partition partition, int blocks) {
    super(config, layer, path, parts(config, layer, path, init, partition, blocks));
    this.partition = partition;
    this.blocks = blocks / partition.ranks().size();
  }

  private static LoraFactors parts(
      LoraConfig config, Linear layer, String path, Init init, Partition partition, int blocks) {
    LoraFactors whole =
        WholeStart.of(
            config,
            layer,
            partition,
            all -> BlockDiagonalA.factors(config, all, path, init, blocks));
    var rows = new Shard(partition.ranks(), 0);
    var columns = new Shard(partition.ranks(), 1);
    return new LoraFactors(rows.of(whole.a()), columns.of(whole.b()), whole.bias());
  }

  @Override
  public @Nullable Shard shard(String name) {
    return switch (name) {
      case "lora_A.weight" -> new Shard(partition.ranks(), 0);
      case "lora_B.weight" -> new Shard(partition.ranks(), 1);
      default -> null;
    };
  }

  @Override
  public Tensor first(Tensor x) {
    Tensor y =
        layer().joined(rows(x), (in, sum) -> sum.add(branch(in).to(sum.scalar_type().intern())));
    return shaped(biased(y), x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor branch = Exchange.summed(partition.ranks(), branch(rows(x)));
    return shaped(biased(rows(y).add(branch.to(y.scalar_type().intern()))), x);
  }

  // a fresh tensor
  private Tensor branch(Tensor rows) {
    return product(hidden(dropped(rows)), b()).mul(new Scalar(scaling()));
  }

  private Tensor biased(Tensor y) {
    Tensor bias = bias();
    return bias == null ? y : y.add(bias.to(y.scalar_type().intern()), new Scalar(scaling()));
  }

  @Override
  Tensor hidden(Tensor kept) {
    return Blocks.product(kept, a().to(kept.scalar_type().intern()), blocks);
  }

  @Override
  Tensor wideA() {
    return Blocks.whole(wide(a()), blocks);
  }
}
