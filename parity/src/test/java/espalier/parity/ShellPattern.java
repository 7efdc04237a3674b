package espalier.parity;

import java.util.regex.Pattern;

/**
 * A shell pattern over a whole name, where letter case counts: {@code *} any text, {@code ?} one
 * character, {@code [ab]} one of these, {@code [!ab]} none of these.
 */
final class ShellPattern {

  private ShellPattern() {}

  static boolean matches(String pattern, String name) {
    return Pattern.compile(regex(pattern), Pattern.DOTALL).matcher(name).matches();
  }

  private static String regex(String pattern) {
    var regex = new StringBuilder();
    int at = 0;
    while (at < pattern.length()) {
      char c = pattern.charAt(at);
      int end = c == '[' ? closing(pattern, at) : -1;
      if (end > 0) {
        String set = pattern.substring(at + 1, end).replace("\\", "\\\\").replace("[", "\\[");
        regex.append('[').append(set.startsWith("!") ? "^" + set.substring(1) : set).append(']');
        at = end;
      } else {
        regex.append(
            switch (c) {
              case '*' -> ".*";
              case '?' -> ".";
              default -> Pattern.quote(String.valueOf(c));
            });
      }
      at++;
    }
    return regex.toString();
  }

  // a bracket right after the opening one, or after its '!', is a member and does not close
  private static int closing(String pattern, int open) {
    int from = open + 1;
    if (from < pattern.length() && pattern.charAt(from) == '!') {
      from++;
    }
    return pattern.indexOf(']', from + 1);
  }
}
