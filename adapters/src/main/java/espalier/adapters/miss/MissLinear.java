package espalier.adapters.miss;

import espalier.adapters.abba.LinearBranch;
import espalier.nn.Adapter;
import espalier.nn.BranchProduct;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * MiSS on a linear layer: the input is divided into shards of r features, and all shards share one
 * trained block D [r, out], so that ΔW has D once for each shard and rank r at most. In the form
 * {@link MissForm#BAT} the update depends on the weight too.
 *
 * @see <a href="https://arxiv.org/abs/2409.15371">MiSS: Balancing LoRA Performance and Efficiency
 *     with Simple Shard Sharing</a>
 */
public final class MissLinear extends Adapter {

  private final Linear layer;
  private final LinearBranch branch;
  private final boolean bat;
  private final Tensor block; // [r, out], [r, mini_r], or [out / r, r, r]

  MissLinear(MissConfig config, Linear layer, Init init) {
    this.layer = layer;
    bat = config.form() == MissForm.BAT;
    branch = new LinearBranch(layer, bat ? 0 : config.dropout());
    long r = config.r();
    long out = layer.out();
    block =
        parameter(
            "miss_block",
            switch (config.form()) {
              case BALANCED -> init.zero(r, out);
              case DRAWN -> init.kaimingUniform(out, r, out);
              case MINI -> init.zero(r, config.miniR());
              case BAT -> init.zero(out / r, r, r);
            });
  }

  @Override
  public Linear layer() {
    return layer;
  }

  private List<Tensor> factors() {
    return bat ? List.of(block, layer.originalWeight()) : List.of(block);
  }

  private BranchProduct.Branch product() {
    return bat ? new BatBranch(scale()) : new ShardBranch(scale());
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), factors(), product());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), factors(), product());
  }

  @Override
  public Tensor deltaWeight() {
    return bat
        ? new BatBranch(scale())
            .update(List.of(wide(block), layer.originalWeight().to(wide(block).dtype())))
        : new ShardBranch(scale()).update(wide(block), layer.out(), layer.in());
  }
}
