package espalier.adapters;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Values by regular expression over paths, as {@code rank_pattern} and {@code alpha_pattern} have
 * them. A key matches the path from its end, on the border of a name; the first key that matches
 * decides, in the order of the file.
 *
 * @param entries value by key, in order
 */
public record PathMap<V>(Map<String, V> entries) {

  /** Copies the map in its order. */
  public PathMap {
    entries = Collections.unmodifiableMap(new LinkedHashMap<>(entries));
  }

  /** No entries. */
  public static <V> PathMap<V> empty() {
    return new PathMap<>(Map.of());
  }

  /** The value for a path, or {@code otherwise}. */
  public V at(String path, V otherwise) {
    for (Map.Entry<String, V> entry : entries.entrySet()) {
      if (hits(entry.getKey(), path)) {
        return entry.getValue();
      }
    }
    return otherwise;
  }

  /** Whether a key matches a path: {@code foo} matches foo and a.foo, not foobar or barfoo. */
  static boolean hits(String key, String path) {
    Pattern pattern = PythonRegex.compile("(.*\\.)?(" + key + ")$", "pattern key " + key);
    return pattern.matcher(path).lookingAt();
  }

  /** Whether there are no entries. */
  public boolean isEmpty() {
    return entries.isEmpty();
  }
}
