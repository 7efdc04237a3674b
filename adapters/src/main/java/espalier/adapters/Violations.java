package espalier.adapters;

import java.util.ArrayList;
import java.util.List;

/** Collects all that is wrong with a config, so that it is told at once and not one by one. */
public final class Violations {

  private final List<String> found = new ArrayList<>();

  /** Notes a sentence unless {@code good}. */
  @SuppressWarnings("AnnotateFormatMethod") // its annotation is no dependency of ours
  public Violations unless(boolean good, String sentence, Object... values) {
    if (!good) {
      found.add(sentence.formatted(values));
    }
    return this;
  }

  /**
   * Ends the check.
   *
   * @throws ConfigException with all that was found
   */
  public void raise() {
    if (!found.isEmpty()) {
      throw new ConfigException(found);
    }
  }
}
