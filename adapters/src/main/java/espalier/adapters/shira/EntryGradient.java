package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.sparse_sampled_addmm_out;

import espalier.nn.HalfPrecision;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.MemoryFormat;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The gradient of a few entries of a weight: K inner products over the tokens, out of the m·n that
 * make up gᵀx.
 */
final class EntryGradient {

  /**
   * The library's sampled product takes about as long for an entry as the dense product does for
   * nine, on one core and on two (float32, 64 to 512 tokens, 576² to 4096²).
   */
  private static final long DENSE_SPEED = 9;

  /** Entries of gᵀx that are formed at once: 16 MB in float32. */
  private static final long BLOCK = 1 << 22;

  private EntryGradient() {}

  /**
   * The gradient of the values.
   *
   * @param g gradient of the output, [tokens, out]
   * @param x input, [tokens, in]
   * @return [K], float32 or wider
   */
  static Tensor of(Tensor g, Tensor x, Support support, double factor) {
    return g.is_cpu() && support.count() * DENSE_SPEED <= support.size()
        ? sampled(g, x, support, factor)
        : blocks(g, x, support, factor, BLOCK);
  }

  /** Only the products that are wanted. */
  static Tensor sampled(Tensor g, Tensor x, Support support, double factor) {
    Tensor byOutput = turned(g);
    Tensor byInput = turned(x);
    Tensor pattern = support.sparse(byOutput.new_zeros(support.count()));
    return sparse_sampled_addmm_out(
            pattern, pattern, byOutput, byInput.t(), new Scalar(0), new Scalar(factor))
        .values();
  }

  // The library wants to walk along the tokens, and would make this copy of what was widened.
  private static Tensor turned(Tensor t) {
    return HalfPrecision.isHalf(t)
        ? t.t()
            .to(ScalarType.Float, false, false, new MemoryFormatOptional(MemoryFormat.Contiguous))
        : t.t().contiguous();
  }

  /** All products, by blocks of rows, of which the wanted ones are kept. */
  static Tensor blocks(Tensor g, Tensor x, Support support, double factor, long block) {
    long in = support.in();
    long rows = Math.clamp(block / in, 1, support.out());
    long[] cuts = support.cuts(rows);
    Tensor wideG = HalfPrecision.widened(g);
    Tensor wideX = HalfPrecision.widened(x);
    Tensor gradient = wideX.new_empty(support.count());
    for (int i = 0; i < cuts.length - 1; i++) {
      long from = i * rows;
      long length = Math.min(rows, support.out() - from);
      long count = cuts[i + 1] - cuts[i];
      if (count == 0) {
        continue;
      }
      try (var _ = new PointerScope()) {
        Tensor part = wideG.narrow(1, from, length).t().mm(wideX);
        Tensor at = support.kept().narrow(0, cuts[i], count).sub(new Scalar(from * in));
        gradient.narrow(0, cuts[i], count).copy_(part.view(-1).index_select(0, at));
      }
    }
    return factor == 1 ? gradient : gradient.mul_(new Scalar(factor));
  }
}
