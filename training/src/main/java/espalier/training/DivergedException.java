package espalier.training;

/** Training came to numbers that are not finite. */
public final class DivergedException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  /** With a sentence that says what happened and what to change. */
  public DivergedException(String message) {
    super(message);
  }
}
