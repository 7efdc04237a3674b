package espalier.adapters.shira;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** The entries of the highest scores, found by selection and not by sorting all of them. */
final class TopEntries {

  private TopEntries() {}

  /**
   * Flat positions of the highest scores, ascending; of equal scores the lower position wins.
   *
   * @param scores not negative, any shape
   * @param free which may be chosen, bool and flat, or null for all
   */
  static Tensor of(Tensor scores, long count, @Nullable Tensor free) {
    Tensor flat = scores.reshape(-1).to(ScalarType.Float).nan_to_num();
    if (free != null) {
      flat = flat.masked_fill(free.logical_not(), new Scalar(-1));
    }
    Tensor threshold = flat.kthvalue(flat.numel() - count + 1).get0();
    Tensor above = flat.gt(threshold).nonzero().view(-1);
    Tensor level = flat.eq(threshold).nonzero().view(-1);
    return MaskChoice.joined(above, level.narrow(0, 0, count - above.size(0))).sort().get0();
  }
}
