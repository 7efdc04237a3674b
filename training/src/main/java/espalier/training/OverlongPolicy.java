package espalier.training;

/** What becomes of an example that is longer than {@code max_length}. */
public enum OverlongPolicy {

  /**
   * Keeps the first {@code max_length} tokens, or leaves the example out if none of those is
   * learned.
   */
  TRUNCATE,

  /** Refuses the data, naming how many examples are too long and the first of them. */
  ERROR
}
