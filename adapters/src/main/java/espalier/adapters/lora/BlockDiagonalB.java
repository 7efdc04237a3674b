package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;

import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * BD-LoRA with B in blocks: for layers that a cluster splits along their outputs. B is stored as
 * [out, r / blocks].
 */
public final class BlockDiagonalB extends LoraLinear {

  private final int blocks;

  BlockDiagonalB(LoraConfig config, Linear layer, String path, Init init, int blocks) {
    super(config, layer, path, factors(config, layer, path, init, blocks));
    this.blocks = blocks;
  }

  /** First factors: A plain, B in blocks. */
  static LoraFactors factors(LoraConfig config, Linear layer, String path, Init init, int blocks) {
    int r = config.rankAt(path);
    Blocks.require(layer.out(), "outputs", blocks, path);
    Blocks.require(r, "r", blocks, path);
    Tensor a = LoraStart.of(config, layer, path, init).a();
    return new LoraFactors(a, init.zero(layer.out(), r / blocks), null);
  }

  @Override
  public Tensor first(Tensor x) {
    Tensor rows = rows(x);
    return shaped(layer().base(rows).add_(branch(rows), new Scalar(scaling())), x);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor branch = branch(rows(x)).to(y.scalar_type().intern());
    return shaped(rows(y).add(branch, new Scalar(scaling())), x);
  }

  private Tensor branch(Tensor rows) {
    Tensor h = hidden(dropped(rows));
    return Blocks.product(h, b().to(h.scalar_type().intern()), blocks);
  }

  @Override
  Tensor wideB() {
    return Blocks.whole(wide(b()), blocks);
  }
}
