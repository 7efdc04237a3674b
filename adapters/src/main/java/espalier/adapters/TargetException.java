package espalier.adapters;

/** Target resolution found nothing, or something that can not be adapted. */
public final class TargetException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  /** A sentence that says what was, what was expected, and how to mend it. */
  public TargetException(String message) {
    super(message);
  }
}
