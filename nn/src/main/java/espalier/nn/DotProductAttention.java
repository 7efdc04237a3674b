package espalier.nn;

import static org.bytedeco.pytorch.global.torch.full;
import static org.bytedeco.pytorch.global.torch.scaled_dot_product_attention;

import espalier.nn.AttentionMask.Additive;
import espalier.nn.AttentionMask.Causal;
import espalier.nn.AttentionMask.Full;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.jspecify.annotations.Nullable;

/**
 * softmax(scale · q kᵀ + mask) v, with grouped queries, by the way that is fast for the dtype.
 *
 * <p>On an accelerator that is libtorch's fused kernel. On a CPU {@link FlashAttention} calls the
 * kernels for float32, to which half precision is widened where the processor has no instructions
 * for it. Where it has, this build's kernel for half precision was still measured 15 times slower
 * than batched products, so there, and for single queries, {@link HalfAttention} does the work.
 */
public final class DotProductAttention {

  private DotProductAttention() {}

  /**
   * Attends.
   *
   * @param q [batch, heads, T, D]
   * @param k [batch, kvHeads, S, D]; heads is a multiple of kvHeads
   * @param v [batch, kvHeads, S, D]
   * @param scale factor on the scores, such as 1/√D
   * @return [batch, heads, T, D]
   */
  public static Tensor of(Tensor q, Tensor k, Tensor v, AttentionMask mask, double scale) {
    long group = q.size(1) / k.size(1);
    if (q.size(2) == 1 && group > 1 && !HalfPrecision.isHalf(q) && !perHead(mask)) {
      return onePosition(q, k, v, mask, scale);
    }
    if (q.size(2) > 1 && FlashAttention.fit(q, v)) {
      return FlashAttention.of(q, k, v, square(mask, q, k), bias(mask, q, k), scale);
    }
    if (HalfPrecision.isHalf(q) && q.is_cpu()) {
      return HalfAttention.of(q, k, v, mask, scale);
    }
    Tensor bias = bias(mask, q, k);
    return scaled_dot_product_attention(
        q,
        k,
        v,
        bias == null ? new TensorOptional() : new TensorOptional(bias),
        0,
        square(mask, q, k),
        new DoubleOptional(scale),
        group > 1);
  }

  /** Whether query i sees the keys up to i, which kernels know by themselves. */
  private static boolean square(AttentionMask mask, Tensor q, Tensor k) {
    return mask instanceof Causal && q.size(2) == k.size(2);
  }

  /** What else is to be added to the scores, in the dtype of q, or null. */
  private static @Nullable Tensor bias(AttentionMask mask, Tensor q, Tensor k) {
    return switch (mask) {
      case Full() -> null;
      case Causal() ->
          square(mask, q, k) || q.size(2) == 1 ? null : causal(q.size(2), k.size(2), q);
      case Additive(var numbers) -> numbers.to(q.scalar_type().intern());
    };
  }

  // While decoding, the query heads that share a key head are rows of one product, so that the
  // cache is read once and never repeated.
  private static Tensor onePosition(
      Tensor q, Tensor k, Tensor v, AttentionMask mask, double scale) {
    long batch = q.size(0);
    long kvHeads = k.size(1);
    Tensor rows = q.reshape(batch, kvHeads, q.size(1) / kvHeads, q.size(3));
    var bias =
        mask instanceof Additive(var b)
            ? new TensorOptional(b.to(q.scalar_type().intern()))
            : new TensorOptional();
    return scaled_dot_product_attention(
            rows, k, v, bias, 0, false, new DoubleOptional(scale), false)
        .reshape(batch, q.size(1), 1, q.size(3));
  }

  private static boolean perHead(AttentionMask mask) {
    return mask instanceof Additive(var bias) && bias.size(1) > 1;
  }

  /** The causal rule as numbers to add, [T, S], in the dtype of {@code like}. */
  static Tensor causal(long queries, long keys, Tensor like) {
    Tensor hidden =
        full(new long[] {queries, keys}, new Scalar(Double.NEGATIVE_INFINITY), like.options());
    return hidden.triu_(keys - queries + 1);
  }

  /**
   * The shape [batch, T, heads, D] of something [batch, heads, T, D], in which results lie, so that
   * the projection beside reads them as they are. Their memory is taken before any temporary.
   */
  static long[] byPosition(Tensor t) {
    return new long[] {t.size(0), t.size(2), t.size(1), t.size(3)};
  }
}
