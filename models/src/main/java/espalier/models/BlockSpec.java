package espalier.models;

import org.jspecify.annotations.Nullable;

/**
 * One block.
 *
 * @param cross the attention to an encoder's states, or null
 * @param transposed whether linear weights are stored as [in, out]
 */
record BlockSpec(
    AttentionSpec attention,
    @Nullable AttentionSpec cross,
    FeedForwardSpec feedForward,
    boolean transposed) {

  BlockSpec(AttentionSpec attention, FeedForwardSpec feedForward) {
    this(attention, null, feedForward, false);
  }
}
