package espalier.adapters.combine;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Taking entries out of a tensor. */
final class Sparsity {

  private Sparsity() {}

  /**
   * Keeps the largest entries by magnitude of the whole tensor and zeroes the rest. Of equal
   * magnitudes those that come first in memory order stay.
   *
   * @param density part that is kept, rounded down to a number of entries
   */
  static Tensor largest(Tensor tensor, double density) {
    long all = tensor.numel();
    long keep = (long) (density * all);
    if (keep >= all) {
      return tensor;
    }
    if (keep <= 0) {
      return tensor.new_zeros(tensor.sizes());
    }
    Tensor magnitude = tensor.abs().flatten();
    Tensor smallestKept = magnitude.kthvalue(all - keep + 1, 0, false).get0();
    Tensor above = magnitude.gt(smallestKept);
    // once a tensor: how many of those at the limit there is room for
    long room = keep - above.sum().item_long();
    Tensor atLimit = magnitude.eq(smallestKept);
    Tensor first = atLimit.logical_and(atLimit.cumsum(0).le(new Scalar(room)));
    return tensor.mul(above.logical_or(first).view_as(tensor));
  }

  /** Drops what a mask does not keep, and scales the rest up for it. */
  static Tensor rescaled(Tensor tensor, Tensor mask, double density) {
    return tensor.mul(mask.to(tensor)).div_(new Scalar(density));
  }
}
