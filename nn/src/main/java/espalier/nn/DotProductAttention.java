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

/**
 * softmax(scale · q kᵀ + mask) v, with grouped queries, by the way that is fast for the dtype.
 *
 * <p>In float32 and on an accelerator that is libtorch's fused kernel. In half precision on a CPU
 * this build's fused kernel was measured 15 times slower than batched products, so there {@link
 * HalfAttention} does the work.
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
    if (HalfPrecision.isHalf(q) && q.is_cpu()) {
      return HalfAttention.of(q, k, v, mask, scale);
    }
    long group = q.size(1) / k.size(1);
    if (q.size(2) == 1 && group > 1 && !perHead(mask)) {
      return onePosition(q, k, v, mask, scale);
    }
    var none = new TensorOptional();
    var factor = new DoubleOptional(scale);
    return switch (mask) {
      case Full() -> scaled_dot_product_attention(q, k, v, none, 0, false, factor, group > 1);
      case Causal() -> {
        boolean square = q.size(2) == k.size(2);
        yield square
            ? scaled_dot_product_attention(q, k, v, none, 0, true, factor, group > 1)
            : scaled_dot_product_attention(
                q,
                k,
                v,
                q.size(2) == 1 ? none : new TensorOptional(causal(q.size(2), k.size(2), q)),
                0,
                false,
                factor,
                group > 1);
      }
      case Additive(var bias) ->
          scaled_dot_product_attention(
              q,
              k,
              v,
              new TensorOptional(bias.to(q.scalar_type().intern())),
              0,
              false,
              factor,
              group > 1);
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
}
