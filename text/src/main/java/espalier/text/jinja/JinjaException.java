package espalier.text.jinja;

/** A template could not be parsed, raised an error, or ran past its limits. */
public final class JinjaException extends RuntimeException {

  private static final long serialVersionUID = 1;

  private static final int LONGEST = 1000; // a template may raise an error with any text

  JinjaException(String message) {
    super(message.length() <= LONGEST ? message : message.substring(0, LONGEST) + "...");
  }

  /** The same error, told where it happened. */
  JinjaException at(int line) {
    return new JinjaException("%s (line %d)".formatted(getMessage(), line), this);
  }

  private JinjaException(String message, JinjaException cause) {
    super(message, cause);
  }
}
