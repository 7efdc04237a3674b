package espalier.parity;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The cases that later work will bring: {@code pending.txt} has one a line, its name and after a
 * space the reason. They run too, and one that passes while listed fails, so that the list can only
 * shrink.
 */
final class Pending {

  private final Map<String, String> reasons;

  private Pending(Map<String, String> reasons) {
    this.reasons = reasons;
  }

  static Pending none() {
    return new Pending(Map.of());
  }

  static Pending in(Path file) {
    var reasons = new LinkedHashMap<String, String>();
    try {
      for (String line : Files.readAllLines(file)) {
        if (line.isBlank() || line.startsWith("#")) {
          continue;
        }
        String[] parts = line.split("\\s+", 2);
        if (parts.length < 2 || parts[1].isBlank()) {
          throw new AssertionError(file + " gives no reason for " + parts[0]);
        }
        if (reasons.put(parts[0], parts[1].strip()) != null) {
          throw new AssertionError(file + " lists " + parts[0] + " twice");
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return new Pending(reasons);
  }

  /** Why the case is not expected to pass, or null if it is. */
  @Nullable String reason(String name) {
    return reasons.get(name);
  }

  Map<String, String> reasons() {
    return reasons;
  }
}
