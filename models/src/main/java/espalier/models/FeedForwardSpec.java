package espalier.models;

/** The second half of a block. */
sealed interface FeedForwardSpec {

  /** down(activation(gate(x)) ⊙ up(x)). */
  record Gated(int inner, Activation activation, boolean bias) implements FeedForwardSpec {}

  /** down(activation(up(x))). */
  record Plain(int inner, Activation activation, boolean bias) implements FeedForwardSpec {}

  /**
   * Gated feed-forwards of which a router picks the best few for each token.
   *
   * @param count number of experts
   * @param inner width inside one expert
   * @param chosen how many experts a token goes through
   * @param normalised whether the weights of the chosen experts are made to sum to 1
   */
  record Experts(int count, int inner, int chosen, boolean normalised, Activation activation)
      implements FeedForwardSpec {}
}
