package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.arange;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Ascending positions as the numbers of entries that are skipped between them, a byte each. A byte
 * of 255 says that 255 entries are skipped and that the gap goes on. The length of a row stands
 * before them in four bytes, the lowest first, so that they mean something without the weight.
 */
final class Gaps {

  private static final long GOES_ON = 255;

  private static final int HEAD = 4;

  private Gaps() {}

  /**
   * Positions as bytes.
   *
   * @param positions int64 [K], ascending
   * @param width entries of a row, at least as many as there are columns with entries
   * @return uint8 [K or a few more]
   */
  static Tensor of(Tensor positions, long width) {
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
    return MaskChoice.joined(head(width, bytes), bytes).to(ScalarType.Byte);
  }

  private static Tensor head(long width, Tensor like) {
    Tensor head = like.new_empty(HEAD);
    for (int i = 0; i < HEAD; i++) {
      head.select(0, i).fill_(new Scalar(width >>> (8 * i) & 0xFF));
    }
    return head;
  }

  /** Entries of a row. */
  static long width(Tensor bytes) {
    long width = 0;
    for (int i = 0; i < HEAD; i++) {
      width |= (long) bytes.select(0, i).item_int() << (8 * i);
    }
    return width;
  }

  /** Whether a tensor can be gaps at all. */
  static boolean are(Tensor bytes) {
    return bytes.scalar_type().intern() == ScalarType.Byte
        && bytes.dim() == 1
        && bytes.size(0) > HEAD
        && width(bytes) > 0;
  }

  /** The positions behind them, in a weight whose rows are as long as they say; int64 [K]. */
  static Tensor positions(Tensor bytes) {
    Tensor skipped = bytes.narrow(0, HEAD, bytes.size(0) - HEAD).to(ScalarType.Long);
    Tensor ends = skipped.ne(new Scalar(GOES_ON));
    Tensor before = skipped.cumsum(0).masked_select(ends);
    return before.add(counting(before.size(0)));
  }

  private static Tensor counting(long count) {
    return arange(new Scalar(count)).to(ScalarType.Long);
  }
}
