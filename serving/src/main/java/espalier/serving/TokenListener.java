package espalier.serving;

/** Hears of each token as it is chosen; called on the thread that generates. */
@FunctionalInterface
public interface TokenListener {

  /** Hears nothing. */
  TokenListener NONE = (_, _, _) -> {};

  /**
   * A row has one more token.
   *
   * @param row the prompt's place in the list, from 0
   * @param id the token, also where it ended the row
   * @param piece the text that is certain now, often none: a character is never cut, and what may
   *     become a stop string is held back. The pieces of a row joined are its text.
   */
  void token(int row, int id, String piece);
}
