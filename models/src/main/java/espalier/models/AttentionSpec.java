package espalier.models;

import org.jspecify.annotations.Nullable;

/**
 * One attention.
 *
 * @param kvHeads key and value heads; heads is a multiple of it
 * @param headDim width of one head
 * @param scale factor on the scores
 * @param bias whether the projections of queries, keys and values have a bias
 * @param outBias whether the projection of the output has one
 * @param window how many of the latest tokens a query sees, itself counted, or 0 for all
 * @param rope how queries and keys are rotated, or null
 * @param dropout probability that a weight is dropped in training
 */
record AttentionSpec(
    int heads,
    int kvHeads,
    int headDim,
    double scale,
    boolean bias,
    boolean outBias,
    int window,
    @Nullable Rope rope,
    double dropout) {

  /** Plain attention as in BERT, GPT-2 and OPT: all heads alike, everything seen. */
  static AttentionSpec plain(int heads, int headDim, boolean bias, double dropout) {
    return new AttentionSpec(
        heads, heads, headDim, 1 / Math.sqrt(headDim), bias, bias, 0, null, dropout);
  }
}
