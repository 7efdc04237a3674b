package espalier.models;

/**
 * A kind of norm.
 *
 * @param epsilon added to the variance
 */
record Norm(Kind kind, double epsilon) {

  enum Kind {
    /** Mean and variance, with a bias. */
    LAYER,
    /** Root mean square. */
    RMS,
    /** Root mean square, multiplied by 1 + w. */
    RMS_PLUS_ONE
  }

  /** Where a block's norms stand, f being attention or the feed-forward. */
  enum Placement {
    /** x + f(norm(x)). */
    BEFORE,
    /** norm(x + f(x)). */
    AFTER,
    /** x + norm(f(norm(x))). */
    AROUND
  }
}
