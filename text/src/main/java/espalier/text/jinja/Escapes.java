package espalier.text.jinja;

/** Resolves the escapes of a Python string literal. */
final class Escapes {

  private Escapes() {}

  static String resolve(String literal, int line) {
    if (literal.indexOf('\\') < 0) {
      return literal;
    }
    StringBuilder text = new StringBuilder(literal.length());
    for (int i = 0; i < literal.length(); i++) {
      char c = literal.charAt(i);
      if (c != '\\' || i + 1 == literal.length()) {
        text.append(c);
        continue;
      }
      char escape = literal.charAt(++i);
      switch (escape) {
        case '\n' -> {} // a line that goes on
        case 'n' -> text.append('\n');
        case 't' -> text.append('\t');
        case 'r' -> text.append('\r');
        case 'a' -> text.append('\007');
        case 'b' -> text.append('\b');
        case 'f' -> text.append('\f');
        case 'v' -> text.append('\013');
        case '\\', '\'', '"' -> text.append(escape);
        case 'x' -> i = codePoint(literal, i, 2, text, line);
        case 'u' -> i = codePoint(literal, i, 4, text, line);
        case 'N' -> i = named(literal, i, text, line);
        case 'U' -> i = codePoint(literal, i, 8, text, line);
        case '0', '1', '2', '3', '4', '5', '6', '7' -> i = octal(literal, i, text);
        default -> text.append('\\').append(escape);
      }
    }
    return text.toString();
  }

  /** Reads {@code digits} hexadecimal digits after {@code at}; returns the place of the last. */
  private static int codePoint(String literal, int at, int digits, StringBuilder text, int line) {
    int end = at + 1 + digits;
    String hex = literal.substring(at + 1, Math.min(end, literal.length()));
    boolean whole =
        hex.length() == digits && hex.chars().allMatch(c -> Character.digit(c, 16) >= 0);
    long point = whole ? Long.parseLong(hex, 16) : -1;
    if (point < 0 || point > Character.MAX_CODE_POINT) {
      throw new JinjaException(
              "the escape \\%c%s names no character".formatted(literal.charAt(at), hex))
          .at(line);
    }
    text.appendCodePoint((int) point);
    return end - 1;
  }

  /** Reads {@code {NAME}} after {@code at}; returns the place of the brace that closes it. */
  private static int named(String literal, int at, StringBuilder text, int line) {
    int close = literal.indexOf('}', at);
    if (!literal.startsWith("{", at + 1) || close < 0) {
      throw new JinjaException("the escape \\N misses {NAME}").at(line);
    }
    try {
      text.appendCodePoint(Character.codePointOf(literal.substring(at + 2, close)));
    } catch (IllegalArgumentException e) {
      throw new JinjaException(
              "the escape \\N%s names no character".formatted(literal.substring(at + 1, close + 1)))
          .at(line);
    }
    return close;
  }

  private static int octal(String literal, int at, StringBuilder text) {
    int end = at;
    int point = 0;
    while (end < Math.min(at + 3, literal.length())
        && Character.digit(literal.charAt(end), 8) >= 0) {
      point = point * 8 + Character.digit(literal.charAt(end++), 8);
    }
    text.appendCodePoint(point);
    return end - 1;
  }
}
