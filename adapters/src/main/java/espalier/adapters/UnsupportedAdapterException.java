package espalier.adapters;

/** A feature that does not exist for a kind of layer, for a dtype, or yet. */
public final class UnsupportedAdapterException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  /** A sentence that says what was, what was expected, and how to mend it. */
  public UnsupportedAdapterException(String message) {
    super(message);
  }
}
