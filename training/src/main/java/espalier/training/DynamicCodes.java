package espalier.training;

import static org.bytedeco.pytorch.global.torch.bucketize;
import static org.bytedeco.pytorch.global.torch.constant_pad_nd;
import static org.bytedeco.pytorch.global.torch.tensor;

import java.util.Arrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Eight bits an entry: the nearest of 256 values in [-1, 1] or [0, 1], times the largest magnitude
 * of the entry's block of 256. The values lie densest near zero: seven decades, and in each twice
 * as many as in the one below, so that small entries keep their order of magnitude and large ones
 * their digits.
 *
 * @see <a href="https://arxiv.org/abs/2110.02861">8-bit Optimizers via Block-wise Quantization</a>
 */
final class DynamicCodes {

  /** Entries that share a largest magnitude. */
  static final int BLOCK = 256;

  static final DynamicCodes SIGNED = new DynamicCodes(true);
  static final DynamicCodes POSITIVE = new DynamicCodes(false);

  private static final int DECADES = 7;

  private final boolean signed;
  private final float[] values; // 256, rising
  private final float[] borders; // 255, half way between neighbours

  private DynamicCodes(boolean signed) {
    this.signed = signed;
    values = values(signed);
    borders = new float[values.length - 1];
    for (int i = 0; i < borders.length; i++) {
      borders[i] = (float) (((double) values[i] + values[i + 1]) / 2);
    }
  }

  // Of each decade the middles of equal parts of [0.1, 1], one bit more of them in each.
  private static float[] values(boolean signed) {
    var values = new float[1 << 8];
    int n = 0;
    for (int decade = 0; decade < DECADES; decade++) {
      int parts = 1 << (signed ? decade : decade + 1);
      double unit = Math.pow(10, decade - (DECADES - 1));
      for (int i = 0; i < parts; i++) {
        double middle = unit * (0.1 + 0.9 * (i + 0.5) / parts);
        values[n++] = (float) middle;
        if (signed) {
          values[n++] = (float) -middle;
        }
      }
    }
    values[n++] = 0;
    values[n] = 1;
    Arrays.sort(values);
    return values;
  }

  /** Blocks that {@code entries} take. */
  static long blocks(long entries) {
    return (entries + BLOCK - 1) / BLOCK;
  }

  /**
   * The values that codes stand for.
   *
   * @param codes uint8 [blocks, 256]
   * @param largest float32 [blocks]
   * @param like the shape and device of the result
   */
  Tensor decode(Tensor codes, Tensor largest, Tensor like) {
    Tensor table = tensor(values).to(like.device(), ScalarType.Float);
    Tensor index = codes.to(like.device(), ScalarType.Int).flatten();
    return table
        .index_select(0, index)
        .view(-1, BLOCK)
        .mul_(largest.to(like.device(), ScalarType.Float).unsqueeze(1))
        .flatten()
        .narrow(0, 0, like.numel())
        .view_as(like);
  }

  /** Writes the codes of {@code exact} in the place of those that are there. */
  void encode(Tensor exact, Tensor codes, Tensor largest) {
    Tensor flat = exact.flatten().to(ScalarType.Float);
    Tensor blocks =
        constant_pad_nd(flat, new long[] {0, codes.numel() - flat.numel()}, new Scalar(0.0))
            .view(-1, BLOCK);
    Tensor most = blocks.abs().amax(new long[] {1}, true);
    Tensor shares = blocks.div(most.clamp_min(new Scalar((double) Float.MIN_NORMAL)));
    Tensor border = tensor(borders).to(exact.device(), ScalarType.Float);
    Tensor nearest = bucketize(shares, border, true, false);
    if (!signed) {
      // A second moment that became zero would make its parameter's next step boundless.
      nearest = nearest.maximum(blocks.gt(new Scalar(0.0)).to(ScalarType.Int));
    }
    codes.copy_(nearest);
    largest.copy_(most.squeeze(1));
  }
}
