package espalier.text.jinja;

import java.text.Normalizer;
import java.util.Locale;
import java.util.function.IntPredicate;

/** Upper and lower case, and kinds of characters, as Python has them. */
final class Letters {

  private Letters() {}

  static String capitalize(String text) {
    if (text.isEmpty()) {
      return text;
    }
    int first = text.offsetByCodePoints(0, 1);
    return titleCase(text.codePointAt(0)) + text.substring(first).toLowerCase(Locale.ROOT);
  }

  /** Each run of letters starts with a capital, and goes on small. */
  static String title(String text) {
    StringBuilder title = new StringBuilder(text.length());
    boolean inside = false;
    for (int i = 0; i < text.length(); i += Character.charCount(text.codePointAt(i))) {
      int point = text.codePointAt(i);
      String letter = Character.toString(point);
      title.append(inside ? letter.toLowerCase(Locale.ROOT) : titleCase(point));
      inside = isCased(point);
    }
    return title.toString();
  }

  private static String titleCase(int point) {
    int title = Character.toTitleCase(point);
    // one letter may become two: ß, as only String knows
    String upper = Character.toString(point).toUpperCase(Locale.ROOT);
    return upper.codePointCount(0, upper.length()) > 1
        ? upper.charAt(0) + upper.substring(1).toLowerCase(Locale.ROOT)
        : Character.toString(title);
  }

  static String swapCase(String text) {
    StringBuilder swapped = new StringBuilder(text.length());
    text.codePoints()
        .forEach(
            point -> {
              String letter = Character.toString(point);
              swapped.append(
                  Character.isUpperCase(point)
                      ? letter.toLowerCase(Locale.ROOT)
                      : letter.toUpperCase(Locale.ROOT));
            });
    return swapped.toString();
  }

  /** Whether all letters that have a case are of this one, and there is such a letter. */
  static boolean isCase(String text, IntPredicate wanted) {
    return text.codePoints().anyMatch(wanted)
        && text.codePoints().allMatch(point -> !isCased(point) || wanted.test(point));
  }

  static boolean isTitle(String text) {
    return text.codePoints().anyMatch(Letters::isCased) && text.equals(title(text));
  }

  private static boolean isCased(int point) {
    return Character.isUpperCase(point)
        || Character.isLowerCase(point)
        || Character.isTitleCase(point);
  }

  static boolean isDigit(int point) {
    if (Character.isDigit(point) || Character.getType(point) != Character.OTHER_NUMBER) {
      return Character.isDigit(point);
    }
    // besides the decimal digits those that stand for one: ², ₂, ①
    String plain = Normalizer.normalize(Character.toString(point), Normalizer.Form.NFKC);
    return plain.length() == 1 && Character.isDigit(plain.charAt(0));
  }

  static boolean isNumeric(int point) {
    return switch (Character.getType(point)) {
      case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> true;
      default -> false;
    };
  }

  static boolean isIdentifier(String text) {
    return !text.isEmpty()
        && (Character.isUnicodeIdentifierStart(text.codePointAt(0)) || text.charAt(0) == '_')
        && text.codePoints().allMatch(Character::isUnicodeIdentifierPart);
  }

  static String expandTabs(Run run, String text, int size) {
    StringBuilder expanded = new StringBuilder();
    int column = 0;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '\t') {
        int blanks = size <= 0 ? 0 : size - column % size;
        run.string((long) expanded.length() + blanks);
        expanded.repeat(' ', blanks);
        column += blanks;
      } else {
        expanded.append(c);
        column = c == '\n' || c == '\r' ? 0 : column + 1;
      }
    }
    return run.made(expanded.toString());
  }
}
