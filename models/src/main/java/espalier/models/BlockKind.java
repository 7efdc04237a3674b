package espalier.models;

/**
 * What a block of a model may have and its neighbours may not.
 *
 * @param window how many of the latest tokens a query sees, itself counted, or 0 for all
 * @param experts whether its feed-forward is a mixture of experts
 */
public record BlockKind(int window, boolean experts) {

  static BlockKind of(BlockSpec spec) {
    return new BlockKind(
        spec.attention().window(), spec.feedForward() instanceof FeedForwardSpec.Experts);
  }
}
