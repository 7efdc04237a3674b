package espalier.serving;

/** Why a row ended. */
public enum FinishReason {
  /** The model ended it with one of its end tokens. */
  END,
  /** A stop string appeared. */
  STOP_STRING,
  /** It has as many tokens as were asked for. */
  LENGTH,
  /** The thread was interrupted. */
  CANCELLED
}
