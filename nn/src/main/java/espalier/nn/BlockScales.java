package espalier.nn;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The scales of a quantised weight's blocks, quantised themselves: less their mean, in blocks of
 * 256, each scale the nearest value of {@link DynamicMap} times its block's largest magnitude.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA, section 3, double quantisation</a>
 */
final class BlockScales implements AutoCloseable {

  /** Scales that share one scale of their own. */
  static final int BLOCK = 256;

  private final Tensor codes; // [blocks] uint8
  private final Tensor largest; // [⌈blocks / 256⌉] float32
  private final Tensor mean; // [] float32
  private final Tensor table; // [256] float32

  private BlockScales(Tensor codes, Tensor largest, Tensor mean, Tensor table) {
    this.codes = Scope.own(codes);
    this.largest = Scope.own(largest);
    this.mean = Scope.own(mean);
    this.table = Scope.own(table);
  }

  /** Quantises scales [blocks] float32. */
  static BlockScales quantise(Tensor scales) {
    try (var _ = new PointerScope()) {
      long n = scales.numel();
      Tensor mean = scales.mean();
      Tensor rest = scales.sub(mean);
      long over = n % BLOCK;
      Tensor blocks =
          (over == 0 ? rest : constant_pad_nd(rest, new long[] {0, BLOCK - over})).view(-1, BLOCK);
      Tensor largest = blocks.abs().amax(new long[] {1}, false);
      Tensor scaled = blocks.div(largest.clamp_min(new Scalar(Float.MIN_NORMAL)).unsqueeze(1));
      Tensor codes = DynamicMap.SIGNED.nearest(scaled).to(ScalarType.Byte);
      return new BlockScales(
          codes.view(-1).narrow(0, 0, n).contiguous(),
          largest,
          mean,
          DynamicMap.SIGNED.values(scales));
    }
  }

  /** The codes, [blocks] uint8. */
  Tensor codes() {
    return codes;
  }

  /** Another owner of the same codes. */
  BlockScales share() {
    return new BlockScales(codes, largest, mean, table);
  }

  /** The scales from block {@code from} on, [count] float32. */
  Tensor decode(long from, long count) {
    long first = from / BLOCK;
    long begin = first * BLOCK;
    long groups = (from + count - 1) / BLOCK - first + 1;
    Tensor levels = table.index_select(0, codes.narrow(0, from, count).to(ScalarType.Int)).view(-1);
    Tensor factors =
        largest
            .narrow(0, first, groups)
            .unsqueeze(1)
            .expand(groups, BLOCK)
            .reshape(-1)
            .narrow(0, from - begin, count);
    return levels.mul_(factors).add_(mean);
  }

  long bytes() {
    return codes.nbytes() + largest.nbytes() + mean.nbytes();
  }

  @Override
  public void close() {
    codes.close();
    largest.close();
    mean.close();
    table.close();
  }
}
