package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/** Which keys a query may see. */
public sealed interface AttentionMask {

  /** Every query sees every key. */
  record Full() implements AttentionMask {}

  /** Query i of T sees the keys up to S - T + i: those before it and its own. */
  record Causal() implements AttentionMask {}

  /**
   * Numbers that are added to the scaled scores.
   *
   * @param bias [batch or 1, heads or 1, T or 1, S], 0 where a query sees a key and a large
   *     negative number where it does not, or a relative-position bias
   */
  record Additive(Tensor bias) implements AttentionMask {}
}
