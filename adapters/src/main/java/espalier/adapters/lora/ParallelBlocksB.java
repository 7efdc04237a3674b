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
 * BD-LoRA on a layer that is split along its outputs: each rank has its blocks of B and the rows of
 * A beside them. The ranks say nothing more to each other than without an adapter.
 */
final class ParallelBlocksB extends LoraLinear {

  private final Partition partition;
  private final int blocks; // of this rank

  ParallelBlocksB(
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
            all -> BlockDiagonalB.factors(config, all, path, init, blocks));
    var rows = new Shard(partition.ranks(), 0);
    return new LoraFactors(rows.of(whole.a()), rows.of(whole.b()), null);
  }

  @Override
  public @Nullable Shard shard(String name) {
    return new Shard(partition.ranks(), 0);
  }

  @Override
  public Tensor first(Tensor x) {
    Tensor y =
        layer().joined(rows(x), (in, own) -> own.add(branch(in).to(own.scalar_type().intern())));
    return shaped(y, x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor branch = branch(Exchange.copied(partition.ranks(), rows(x)));
    return shaped(rows(y).add(branch.to(y.scalar_type().intern())), x);
  }

  private Tensor branch(Tensor rows) {
    Tensor h = hidden(dropped(rows));
    return Blocks.product(h, b().to(h.scalar_type().intern()), blocks).mul(new Scalar(scaling()));
  }

  @Override
  Tensor wideB() {
    return Blocks.whole(wide(b()), blocks);
  }
}
