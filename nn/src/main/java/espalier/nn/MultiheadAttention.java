package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/**
 * Attention whose queries, keys and values come from one packed weight, with the parameters {@code
 * in_proj_weight} [3E, E], {@code in_proj_bias} [3E], {@code out_proj.weight} [E, E] and {@code
 * out_proj.bias} [E].
 *
 * <p>Both products take adapters. The packed one has the path of the attention itself, as its
 * parameters stand there; {@link #packed} gives it.
 */
public final class MultiheadAttention extends Layer {

  private final AttentionProjection in;
  private final AttentionProjection out;
  private final long heads;

  /**
   * Attention over given tensors.
   *
   * @param weights {@code in_proj_weight}, {@code out_proj.weight}, and their biases where there
   *     are any
   * @param heads number of heads, a divisor of E
   * @throws IllegalArgumentException if the shapes do not fit each other
   */
  public MultiheadAttention(Weights weights, long heads) {
    Tensor packed = weights.get("in_proj_weight");
    Tensor output = weights.get("out_proj.weight");
    long width = output.size(0);
    if (packed.size(0) != 3 * packed.size(1) || packed.size(1) != width) {
      throw new IllegalArgumentException(
          "in_proj_weight is [%d, %d] and out_proj.weight [%d, %d] but [3E, E] and [E, E] are needed; attention with keys or values of another width is not packed"
              .formatted(packed.size(0), packed.size(1), output.size(0), output.size(1)));
    }
    if (heads < 1 || width % heads != 0) {
      throw new IllegalArgumentException(
          "the width %d can not be divided by %d heads; choose a divisor".formatted(width, heads));
    }
    this.heads = heads;
    // an empty name: its parameters stand at the attention's own path
    in = child("", AttentionProjection.packed(packed, weights.find("in_proj_bias")));
    out =
        child(
            AttentionProjection.OUTPUT,
            AttentionProjection.output(output, weights.find("out_proj.bias")));
  }

  /** The product that gives queries, keys and values; adapters on it have the attention's path. */
  public AttentionProjection packed() {
    return in;
  }

  /** The output product. */
  public AttentionProjection output() {
    return out;
  }

  /** Every position sees every other: x [B, T, E] to [B, T, E]. */
  public Tensor forward(Tensor x) {
    Tensor all = in.forward(x);
    long width = out.out();
    return attended(
        all.narrow(-1, 0, width),
        all.narrow(-1, width, width),
        all.narrow(-1, 2 * width, width),
        new AttentionMask.Full());
  }

  /**
   * Attention of some positions to others.
   *
   * @param query [B, T, E]
   * @param memory [B, S, E], from which keys and values come
   * @param mask which of the S positions a query sees
   * @return [B, T, E]
   */
  public Tensor forward(Tensor query, Tensor memory, AttentionMask mask) {
    long width = out.out();
    Tensor read = in.forward(memory);
    return attended(
        in.forward(query).narrow(-1, 0, width),
        read.narrow(-1, width, width),
        read.narrow(-1, 2 * width, width),
        mask);
  }

  private Tensor attended(Tensor q, Tensor k, Tensor v, AttentionMask mask) {
    double scale = 1 / Math.sqrt((double) out.out() / heads);
    Tensor seen = DotProductAttention.of(byHead(q), byHead(k), byHead(v), mask, scale);
    return out.forward(seen.transpose(1, 2).reshape(q.size(0), q.size(1), q.size(2)));
  }

  private Tensor byHead(Tensor x) {
    return x.reshape(x.size(0), x.size(1), heads, x.size(2) / heads).transpose(1, 2);
  }
}
