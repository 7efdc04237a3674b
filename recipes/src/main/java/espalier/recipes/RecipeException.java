package espalier.recipes;

/** A recipe, or the command that names it, is wrong. */
public final class RecipeException extends IllegalArgumentException {

  private static final long serialVersionUID = 1L;

  /** With a sentence that says what was wrong, what was expected and how to mend it. */
  public RecipeException(String message) {
    super(message);
  }

  /** As above, with what it comes from. */
  public RecipeException(String message, Throwable cause) {
    super(message, cause);
  }
}
