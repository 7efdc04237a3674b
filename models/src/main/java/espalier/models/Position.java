package espalier.models;

/** How a stack knows the order of its tokens. */
sealed interface Position {

  /** Queries and keys are rotated; each attention says how. */
  record Rotary() implements Position {}

  /**
   * A table with a row for each position, added to the token embedding.
   *
   * @param rows rows of the table
   * @param offset added to each position before the row is looked up
   * @param counting which position a token has
   * @param pad the padding token where tokens are counted, else 0
   */
  record Learned(int rows, int offset, Counting counting, int pad) implements Position {}

  /**
   * A learned number for each head and each distance, added to the scores.
   *
   * @param buckets how many distances are told apart
   * @param maxDistance from here on all distances are one bucket
   */
  record Relative(int buckets, int maxDistance) implements Position {}

  /** Which position a token has where none is given. */
  enum Counting {
    /** From the row's first real token, so that padding on the left does not shift a text. */
    FROM_FIRST,
    /** From the row's first token, padding or not. */
    PLAIN,
    /** Over the attention mask; padding gets -1. */
    OVER_MASK,
    /** Over the tokens that are not the padding token, from its id on; padding gets its id. */
    OVER_TOKENS
  }
}
