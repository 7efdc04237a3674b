package espalier.adapters;

import java.util.List;
import java.util.Locale;
import java.util.TreeSet;

/** A way to name layers, as {@code target_modules} and {@code exclude_modules} have it. */
public sealed interface Modules {

  /**
   * Layers whose path is one of the names or ends with a dot and one of the names. An empty list
   * names nothing.
   *
   * @param names kept sorted and without duplicates
   */
  record Named(List<String> names) implements Modules {
    /** Sorts and copies. */
    public Named {
      names = List.copyOf(new TreeSet<>(names));
    }

    boolean matches(String path) {
      return names.stream().anyMatch(name -> endsWith(path, name));
    }
  }

  /** Layers whose whole path a regular expression of Python's kind matches. */
  record Matching(String regex) implements Modules {
    boolean matches(String path, String field) {
      return PythonRegex.compile(regex, field).matcher(path).matches();
    }
  }

  /** Every linear layer but the output head. */
  record AllLinear() implements Modules {}

  /** What is usual for the model's architecture. */
  record ByArchitecture() implements Modules {}

  /** Reads a string: {@code all-linear} in any letter case, or a regular expression. */
  static Modules of(String text) {
    return text.toLowerCase(Locale.ROOT).equals("all-linear")
        ? new AllLinear()
        : new Matching(text);
  }

  /** Whether a path is {@code name} or ends with a dot and {@code name}. */
  static boolean endsWith(String path, String name) {
    return path.endsWith(name)
        && (path.length() == name.length()
            || path.charAt(path.length() - name.length() - 1) == '.');
  }
}
