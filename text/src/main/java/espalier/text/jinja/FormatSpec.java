package espalier.text.jinja;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.Locale;

/**
 * How a value is laid out as text: the part after the colon in {@code '{:>8.2f}'}, or between the
 * percent sign and the letter in {@code '%-8.2f'}.
 *
 * @param align one of &lt; &gt; ^ =, or a space for the type's own
 * @param sign one of + - or a space
 * @param width least code points
 * @param grouping a comma or underscore between thousands, or a space for none
 * @param precision digits, or most characters of a text; -1 where not said
 * @param type the letter, or a space where there is none
 */
record FormatSpec(
    String fill,
    char align,
    char sign,
    boolean alternate,
    int width,
    char grouping,
    int precision,
    char type) {

  /** Digits that anyone asks for; each costs time. */
  private static final int MOST_DIGITS = 1000;

  FormatSpec {
    if (precision > MOST_DIGITS) {
      throw new JinjaException(
          "the precision %d is more than %d".formatted(precision, MOST_DIGITS));
    }
  }

  String text(Run run, String value) {
    String cut =
        precision >= 0 && precision < CodePoints.length(value)
            ? value.substring(0, CodePoints.unit(value, precision))
            : value;
    return padded(run, "", cut, '<');
  }

  String number(Run run, Number value) {
    boolean whole = !(value instanceof Double);
    String digits =
        switch (type) {
          case 'd', 'i', 'u' -> integer(value, 10);
          case 'b' -> integer(value, 2);
          case 'o' -> integer(value, 8);
          case 'x' -> integer(value, 16);
          case 'X' -> integer(value, 16).toUpperCase(Locale.ROOT);
          case 'c' -> Character.toString(Math.clamp(value.longValue(), 0, 0x10FFFF));
          case 'f', 'F' -> fixed(value.doubleValue(), 6);
          case 'e', 'E' -> exponent(value.doubleValue(), precision < 0 ? 6 : precision);
          case 'g', 'G' -> general(value.doubleValue());
          case '%' -> fixed(value.doubleValue() * 100, 6) + "%";
          case ' ', 'n', 's' ->
              whole
                  ? integer(value, 10)
                  : precision < 0
                      ? PythonText.number(value.doubleValue())
                      : general(value.doubleValue());
          default ->
              throw new JinjaException("unknown format code '%c' for a number".formatted(type));
        };
    if (Character.isUpperCase(type) && type != 'X') {
      digits = digits.toUpperCase(Locale.ROOT);
    }
    boolean negative = digits.startsWith("-");
    String magnitude = negative ? digits.substring(1) : digits;
    String before = negative ? "-" : sign == '-' ? "" : String.valueOf(sign);
    if (alternate && "boxX".indexOf(type) >= 0) {
      before += "0" + type;
    }
    return padded(run, before, grouped(magnitude), '>');
  }

  private static String integer(Number value, int radix) {
    if (value instanceof Double number) {
      if (number.isNaN() || number.isInfinite()) {
        throw new JinjaException("%s is no whole number".formatted(PythonText.number(number)));
      }
      return new BigDecimal(number).toBigInteger().toString(radix);
    }
    return radix == 10 ? value.toString() : WholeNumbers.of(value).toString(radix);
  }

  private String fixed(double value, int otherwise) {
    if (Double.isNaN(value) || Double.isInfinite(value)) {
      return PythonText.number(value);
    }
    int digits = precision < 0 ? otherwise : precision;
    String text =
        new BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).abs().toPlainString();
    return isNegative(value) ? "-" + text : text;
  }

  private static boolean isNegative(double value) {
    return value < 0 || (value == 0 && 1 / value < 0);
  }

  private static String exponent(double value, int digits) {
    if (Double.isNaN(value) || Double.isInfinite(value)) {
      return PythonText.number(value);
    }
    BigDecimal rounded =
        new BigDecimal(value).abs().round(new MathContext(digits + 1, RoundingMode.HALF_EVEN));
    int exponent = value == 0 ? 0 : rounded.precision() - rounded.scale() - 1;
    String mantissa =
        rounded.movePointLeft(exponent).setScale(digits, RoundingMode.HALF_EVEN).toPlainString();
    return "%s%se%s%02d"
        .formatted(
            isNegative(value) ? "-" : "", mantissa, exponent < 0 ? "-" : "+", Math.abs(exponent));
  }

  private String general(double value) {
    if (Double.isNaN(value) || Double.isInfinite(value)) {
      return PythonText.number(value);
    }
    int digits = precision < 0 ? 6 : Math.max(1, precision);
    BigDecimal rounded =
        new BigDecimal(value).abs().round(new MathContext(digits, RoundingMode.HALF_EVEN));
    int exponent = value == 0 ? 0 : rounded.precision() - rounded.scale() - 1;
    String sign = isNegative(value) ? "-" : "";
    if (exponent >= -4 && exponent < digits) {
      return sign + (value == 0 ? "0" : rounded.stripTrailingZeros().toPlainString());
    }
    String mantissa = rounded.movePointLeft(exponent).stripTrailingZeros().toPlainString();
    return "%s%se%s%02d".formatted(sign, mantissa, exponent < 0 ? "-" : "+", Math.abs(exponent));
  }

  private String grouped(String magnitude) {
    if (grouping == ' ') {
      return magnitude;
    }
    int point = magnitude.indexOf('.');
    StringBuilder text = new StringBuilder(magnitude);
    for (int i = (point < 0 ? magnitude.length() : point) - 3; i > 0; i -= 3) {
      text.insert(i, grouping);
    }
    return text.toString();
  }

  private String padded(Run run, String before, String value, char own) {
    int missing = width - before.length() - CodePoints.length(value);
    if (missing <= 0) {
      return run.made(before + value);
    }
    run.string((long) width * fill.length());
    return switch (align == ' ' ? own : align) {
      case '<' -> before + value + fill.repeat(missing);
      case '^' -> fill.repeat(missing / 2) + before + value + fill.repeat(missing - missing / 2);
      case '=' -> before + fill.repeat(missing) + value;
      default -> fill.repeat(missing) + before + value;
    };
  }
}
