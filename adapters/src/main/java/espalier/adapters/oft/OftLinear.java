package espalier.adapters.oft;

import espalier.nn.ActsOnInput;
import espalier.nn.Init;
import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/**
 * OFT on a linear layer: y = W (Rᵀ x), with a trained block-diagonal rotation R, which keeps the
 * angles between the neurons of the layer. Among several adapters those that came before it see the
 * rotated input too.
 *
 * @see <a href="https://arxiv.org/abs/2306.07280">Controlling Text-to-Image Diffusion by Orthogonal
 *     Finetuning</a>
 * @see <a href="https://arxiv.org/abs/2506.19847">OFTv2, which rotates the input</a>
 */
public final class OftLinear extends OftAdapter implements ActsOnInput {

  private final Linear layer;

  OftLinear(OftConfig config, Linear layer, Init init) {
    super(config, "oft_R.weight", layer.in(), init);
    this.layer = layer;
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public Tensor turned(Tensor x) {
    return rotated(x);
  }

  @Override
  public Tensor first(Tensor x) {
    return layer.base(turned(x));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor change = layer.withBias(turned(x).sub(x), null);
    return y.add(change).to(y.scalar_type().intern());
  }
}
