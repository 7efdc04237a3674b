package espalier.adapters;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

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

  /** Takes a step, of which it notes what is refused about the config. */
  public Violations noting(Runnable step) {
    try {
      step.run();
    } catch (ConfigException e) {
      e.violations().stream().filter(each -> !found.contains(each)).forEach(found::add);
    }
    return this;
  }

  /**
   * Ends the check with what is made of all that was checked.
   *
   * @throws ConfigException with all that was found, what the maker refuses included
   */
  public <T> T made(Supplier<T> maker) {
    var made = new AtomicReference<@Nullable T>();
    noting(() -> made.set(maker.get()));
    raise();
    return Objects.requireNonNull(made.get());
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
