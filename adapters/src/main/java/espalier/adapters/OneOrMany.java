package espalier.adapters;

import java.util.List;

/**
 * A value of a config file that may be one thing or a list of things; which of the two is kept for
 * writing it back.
 *
 * @param values the things; exactly one where {@code one}
 * @param one whether the file has the thing itself and not a list of it
 */
public record OneOrMany<T>(List<T> values, boolean one) {

  /** Copies the list. */
  public OneOrMany {
    values = List.copyOf(values);
    if (one && values.size() != 1) {
      throw new IllegalArgumentException("one value was announced but there are " + values.size());
    }
  }

  /** The thing itself. */
  public static <T> OneOrMany<T> one(T value) {
    return new OneOrMany<>(List.of(value), true);
  }

  /** A list. */
  public static <T> OneOrMany<T> many(List<T> values) {
    return new OneOrMany<>(values, false);
  }

  /** Whether the list is empty. */
  public boolean isEmpty() {
    return values.isEmpty();
  }
}
