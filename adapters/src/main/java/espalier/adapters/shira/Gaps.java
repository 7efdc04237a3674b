package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.arange;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Ascending positions as the numbers of entries that are skipped between them, a byte each. A byte
 * of 255 says that 255 entries are skipped and that the gap goes on.
 */
final class Gaps {

  private static final long GOES_ON = 255;

  private Gaps() {}

  /** Positions int64 [K], ascending, as uint8 [K or a few more]. */
  static Tensor of(Tensor positions) {
    long count = positions.size(0);
    Tensor gaps = positions.clone();
    if (count > 1) {
      gaps.narrow(0, 1, count - 1).sub_(positions.narrow(0, 0, count - 1)).sub_(new Scalar(1));
    }
    Tensor full = gaps.floor_divide(new Scalar(GOES_ON));
    Tensor ends = full.cumsum(0).add_(counting(count));
    long length = ends.select(0, count - 1).item_long() + 1;
    Tensor bytes = gaps.new_full(new long[] {length}, new Scalar(GOES_ON));
    bytes.index_copy_(0, ends, gaps.remainder(new Scalar(GOES_ON)));
    return bytes.to(ScalarType.Byte);
  }

  /** The positions behind uint8 [...]. */
  static Tensor positions(Tensor bytes) {
    Tensor skipped = bytes.to(ScalarType.Long);
    Tensor ends = skipped.ne(new Scalar(GOES_ON));
    Tensor before = skipped.cumsum(0).masked_select(ends);
    return before.add(counting(before.size(0)));
  }

  private static Tensor counting(long count) {
    return arange(new Scalar(count)).to(ScalarType.Long);
  }
}
