package espalier.adapters;

/** A NaN or an infinity where a check for them was asked for. Nothing was changed. */
public final class NotFiniteException extends ArithmeticException {

  private static final long serialVersionUID = 1;

  /** A sentence that names the adapter and the layer. */
  public NotFiniteException(String message) {
    super(message);
  }
}
