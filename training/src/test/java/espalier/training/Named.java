package espalier.training;

import java.util.Map;
import java.util.Objects;

/** Looks up what must be there. */
final class Named {

  private Named() {}

  static <T> T at(Map<String, T> all, String name) {
    return Objects.requireNonNull(all.get(name), name);
  }
}
