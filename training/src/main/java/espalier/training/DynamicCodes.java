package espalier.training;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import espalier.nn.DynamicMap;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Eight bits an entry: the nearest value of a {@link DynamicMap}, times the largest magnitude of
 * the entry's block of 256.
 *
 * @see <a href="https://arxiv.org/abs/2110.02861">8-bit Optimizers via Block-wise Quantization</a>
 */
final class DynamicCodes {

  /** Entries that share a largest magnitude. */
  static final int BLOCK = 256;

  static final DynamicCodes SIGNED = new DynamicCodes(DynamicMap.SIGNED);
  static final DynamicCodes POSITIVE = new DynamicCodes(DynamicMap.POSITIVE);

  private final DynamicMap map;

  private DynamicCodes(DynamicMap map) {
    this.map = map;
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
    Tensor table = map.values(like);
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
    Tensor nearest = map.nearest(shares);
    if (map == DynamicMap.POSITIVE) {
      // A second moment that became zero would make its parameter's next step boundless.
      nearest = nearest.maximum(blocks.gt(new Scalar(0.0)).to(ScalarType.Int));
    }
    codes.copy_(nearest);
    largest.copy_(most.squeeze(1));
  }
}
