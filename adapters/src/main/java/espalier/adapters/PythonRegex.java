package espalier.adapters;

import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** Regular expressions as Python writes them, which is how adapter configs have them. */
final class PythonRegex {

  private final String regex;
  private final StringBuilder out = new StringBuilder();
  private final Map<String, String> groups = new HashMap<>(); // Java's names have no underscore
  private int at;

  private PythonRegex(String regex) {
    this.regex = regex;
  }

  /**
   * Compiles.
   *
   * @param field the setting it came from, for the error
   * @throws ConfigException if it is none
   */
  static Pattern compile(String regex, String field) {
    try {
      return Pattern.compile(new PythonRegex(regex).rewritten());
    } catch (PatternSyntaxException e) {
      throw new ConfigException(
          "%s \"%s\" is no regular expression: %s at position %d; a list of names needs no pattern"
              .formatted(field, regex, e.getDescription(), Math.max(0, e.getIndex())));
    }
  }

  /** What Java calls a group by its place among those with names, from 0. */
  static String groupName(int index) {
    return "g" + index;
  }

  /** Rewrites what Python spells otherwise. */
  private String rewritten() {
    while (at < regex.length()) {
      char c = regex.charAt(at);
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        characterClass();
      } else if (regex.startsWith("(?P<", at)) {
        group('>', "(?<", ">");
      } else if (regex.startsWith("(?P=", at)) {
        group(')', "\\k<", ">");
      } else if (regex.startsWith("{,", at)) {
        out.append("{0,");
        at += 2;
      } else {
        out.append(c);
        at++;
      }
    }
    return out.toString();
  }

  private void escape() {
    String pair = regex.substring(at, Math.min(at + 2, regex.length()));
    out.append(pair.equals("\\Z") ? "\\z" : pair); // Java's \Z allows a line end after it
    at += pair.length();
  }

  // [ and && have a meaning inside Java's classes only; a ] that comes first is a plain character
  private void characterClass() {
    out.append(regex.charAt(at++));
    if (at < regex.length() && regex.charAt(at) == '^') {
      out.append(regex.charAt(at++));
    }
    for (boolean first = true; at < regex.length(); first = false) {
      char c = regex.charAt(at);
      if (c == '\\') {
        escape();
        continue;
      }
      at++;
      if (c == ']' && !first) {
        out.append(c);
        return;
      }
      out.append(c == '[' || c == ']' || c == '&' ? "\\" + c : String.valueOf(c));
    }
  }

  private void group(char end, String opening, String closing) {
    int close = regex.indexOf(end, at);
    if (close < 0) {
      throw new PatternSyntaxException("a group's name has no end", regex, at);
    }
    String name = regex.substring(at + 4, close);
    out.append(opening)
        .append(groups.computeIfAbsent(name, _ -> groupName(groups.size())))
        .append(closing);
    at = close + 1;
  }
}
