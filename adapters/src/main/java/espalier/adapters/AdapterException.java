package espalier.adapters;

/** An unknown or duplicate adapter name, or adapters that do not go together. */
public final class AdapterException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  /** A sentence that says what was, what was expected, and how to mend it. */
  public AdapterException(String message) {
    super(message);
  }
}
