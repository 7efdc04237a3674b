package espalier.adapters;

/** Saved tensors whose keys or shapes do not fit the adapter that they are loaded into. */
public final class StateMismatchException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  /** A sentence that says what was, what was expected, and how to mend it. */
  public StateMismatchException(String message) {
    super(message);
  }
}
