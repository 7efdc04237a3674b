package espalier.adapters.hira;

import espalier.nn.Convolution;
import espalier.nn.HalfPrecision;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The branch of an adapter on a convolution, whose update is a kernel of the layer's own shape.
 *
 * @param dropout the part of the branch's input that is dropped in training
 */
public record KernelBranch(Convolution layer, double dropout) {

  /** Makes the kernel of the update, or the base's with the update in it. */
  @FunctionalInterface
  public interface Kernel {
    Tensor of(boolean withBase);
  }

  /**
   * The layer's output with the branch: by one convolution, where the branch sees what the base
   * sees and a sum of kernels rounds no more than a sum of outputs.
   *
   * @param x [batch, in, ...]
   * @return [batch, out, ...] in the dtype of x
   */
  public Tensor first(Tensor x, boolean training, Kernel kernel) {
    boolean alone = layer.adapters().merged().isEmpty();
    return HalfPrecision.isHalf(x) || !alone || dropping(training)
        ? forward(x, layer.base(x), training, kernel)
        : layer.base(x, kernel.of(true), layer.bias());
  }

  /**
   * Adds the branch to an output.
   *
   * @param y [batch, out, ...]
   * @return [batch, out, ...] in the dtype of y
   */
  public Tensor forward(Tensor x, Tensor y, boolean training, Kernel kernel) {
    Tensor kept = dropping(training) ? torch.dropout(x, dropout, true) : x;
    return y.add(layer.base(kept, kernel.of(false).to(x.scalar_type().intern()), null))
        .to(y.scalar_type().intern());
  }

  private boolean dropping(boolean training) {
    return dropout > 0 && training;
  }
}
