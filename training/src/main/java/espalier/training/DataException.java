package espalier.training;

/**
 * Training data that cannot be used: the message names the file and the row, what was expected, and
 * how to mend it.
 */
public final class DataException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  public DataException(String message) {
    super(message);
  }

  public DataException(String message, Throwable cause) {
    super(message, cause);
  }
}
