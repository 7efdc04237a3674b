package espalier.text;

/**
 * What a file says is wrong: a model's config, a tokenizer, an adapter's config. It is told apart
 * from other wrong arguments because the mistake lies in the file, not in how it was asked for.
 */
public final class FileContentsException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  /** With a sentence that begins with the file's path, and what was found in it. */
  public FileContentsException(String message, Throwable cause) {
    super(message, cause);
  }
}
