package espalier.text;

/**
 * A chat template could not be parsed, refused the conversation, or ran past its limits.
 *
 * <p>It is an {@link IllegalArgumentException} because a template judges what the caller hands in:
 * most often it says that roles must alternate, or that it knows no such role.
 */
public final class TemplateException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  public TemplateException(String message) {
    super(message);
  }

  public TemplateException(String message, Throwable cause) {
    super(message, cause);
  }
}
