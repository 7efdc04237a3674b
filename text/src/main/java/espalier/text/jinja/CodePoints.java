package espalier.text.jinja;

/** Strings counted as Python counts them, by code points and not by UTF-16 units. */
final class CodePoints {

  private CodePoints() {}

  static int length(String text) {
    return text.codePointCount(0, text.length());
  }

  /** The UTF-16 unit at which a code point starts. */
  static int unit(String text, int point) {
    return text.offsetByCodePoints(0, point);
  }

  /** How many code points stand before a UTF-16 unit. */
  static int point(String text, int unit) {
    return text.codePointCount(0, unit);
  }

  /** The first UTF-16 unit from {@code from} on where {@code part} stands, or -1. */
  static int find(Run run, String text, String part, int from) {
    search(run, text.length() - from, part.length());
    return text.indexOf(part, from);
  }

  /** The last UTF-16 unit up to {@code from} where {@code part} stands, or -1. */
  static int findLast(Run run, String text, String part, int from) {
    search(run, Math.min(from + part.length(), text.length()), part.length());
    return text.lastIndexOf(part, from);
  }

  /** Accounts for the worst case, a part that almost fits at each place; eight units a cycle. */
  private static void search(Run run, long length, long part) {
    run.walk((Math.max(0, length - part) + 1) * Math.max(1, part) / 8);
  }
}
