package espalier.adapters.lora;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * BD-LoRA with A in blocks: for layers that a cluster splits along their inputs. A is stored as [r,
 * in / blocks].
 */
public final class BlockDiagonalA extends LoraLinear {

  private final int blocks;

  BlockDiagonalA(LoraConfig config, Linear layer, String path, Init init, int blocks) {
    super(config, layer, path, factors(config, layer, path, init, blocks));
    this.blocks = blocks;
  }

  /** First factors: A in blocks, B plain. */
  static LoraFactors factors(LoraConfig config, Linear layer, String path, Init init, int blocks) {
    int r = config.rankAt(path);
    Blocks.require(layer.in(), "inputs", blocks, path);
    Blocks.require(r, "r", blocks, path);
    long width = layer.in() / blocks;
    LoraFactors plain = LoraStart.of(config, layer, path, init);
    // He's rule, without the slope of the plain start
    Tensor a = init.uniform(Math.sqrt(6.0 / width), r, width);
    return new LoraFactors(a, plain.b(), plain.bias());
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
