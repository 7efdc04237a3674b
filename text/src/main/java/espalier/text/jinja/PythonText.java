package espalier.text.jinja;

import java.math.BigDecimal;
import java.math.MathContext;
import java.util.List;
import java.util.Map;

/** Values as text, written as Python writes them. */
final class PythonText {

  private PythonText() {}

  /** What Python's str() gives, and what is printed. */
  static String str(Run run, Object value) {
    return switch (value) {
      case String text -> text;
      case Undefined _ -> "";
      default -> repr(run, value);
    };
  }

  /** What Python's repr() gives: strings in quotes. */
  static String repr(Run run, Object value) {
    StringBuilder text = new StringBuilder();
    repr(run, value, text);
    return run.made(text.toString());
  }

  private static void repr(Run run, Object value, StringBuilder text) {
    run.step();
    run.enter();
    switch (value) {
      case String string when run.isSafe(string) -> {
        text.append("Markup(");
        quote(string, text);
        text.append(')');
      }
      case String string -> quote(string, text);
      case None _ -> text.append("None");
      case Boolean bool -> text.append(bool ? "True" : "False");
      case Double number -> text.append(number(number));
      case Tuple tuple -> {
        elements(run, tuple, "(", text);
        text.append(tuple.size() == 1 ? ",)" : ")");
      }
      case Range range -> text.append(range);
      case List<?> list -> {
        elements(run, list, "[", text);
        text.append("]");
      }
      case View view -> {
        text.append(view.type()).append('(');
        elements(run, view.elements(), "[", text);
        text.append("])");
      }
      case Generator generator -> text.append("<generator ").append(generator.type()).append('>');
      case Map<?, ?> dict -> entries(run, dict, text);
      case Namespace namespace -> {
        text.append("<Namespace ");
        entries(run, namespace.fields(), text);
        text.append(">");
      }
      case Undefined _ -> text.append("Undefined");
      case Macro macro -> text.append("<Macro '").append(macro.name()).append("'>");
      case Loop loop -> text.append(loop);
      case Callable _ -> text.append("<").append(Values.typeOf(value)).append(">");
      default -> text.append(value);
    }
    run.leave();
    // a value may hold the same part many times over, so its text can grow out of all proportion
    if (text.length() > run.outputLimit()) {
      run.string(text.length());
    }
  }

  private static void elements(Run run, List<?> list, String open, StringBuilder text) {
    String before = open;
    for (Object element : list) {
      text.append(before);
      repr(run, element, text);
      before = ", ";
    }
    if (list.isEmpty()) {
      text.append(open);
    }
  }

  private static void entries(Run run, Map<?, ?> dict, StringBuilder text) {
    String before = "{";
    for (Map.Entry<?, ?> entry : dict.entrySet()) {
      text.append(before);
      repr(run, entry.getKey(), text);
      text.append(": ");
      repr(run, entry.getValue(), text);
      before = ", ";
    }
    text.append(dict.isEmpty() ? "{}" : "}");
  }

  private static void quote(String string, StringBuilder text) {
    char quote = string.indexOf('\'') >= 0 && string.indexOf('"') < 0 ? '"' : '\'';
    text.append(quote);
    string
        .codePoints()
        .forEach(
            point -> {
              switch (point) {
                case '\n' -> text.append("\\n");
                case '\r' -> text.append("\\r");
                case '\t' -> text.append("\\t");
                case '\\' -> text.append("\\\\");
                default -> {
                  if (point == quote) {
                    text.append('\\').append(quote);
                  } else if (isPrintable(point)) {
                    text.appendCodePoint(point);
                  } else {
                    String form =
                        point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x";
                    text.append(form.formatted(point));
                  }
                }
              }
            });
    text.append(quote);
  }

  /** The shortest digits that read back as the same number, with an exponent as Python sets it. */
  static String number(double number) {
    if (Double.isNaN(number)) {
      return "nan";
    }
    if (Double.isInfinite(number)) {
      return number > 0 ? "inf" : "-inf";
    }
    if (number == 0) {
      return 1 / number > 0 ? "0.0" : "-0.0";
    }
    BigDecimal exact = new BigDecimal(Double.toString(number)).stripTrailingZeros();
    BigDecimal shorter = exact.round(new MathContext(1)); // Java writes two digits at least
    if (shorter.doubleValue() == number) {
      exact = shorter.stripTrailingZeros();
    }
    int exponent = exact.precision() - exact.scale() - 1; // of the first digit
    if (exponent >= -4 && exponent < 16) {
      String plain = exact.toPlainString();
      return plain.indexOf('.') < 0 ? plain + ".0" : plain;
    }
    String digits = exact.unscaledValue().abs().toString();
    return (number < 0 ? "-" : "")
        + digits.charAt(0)
        + (digits.length() > 1 ? "." + digits.substring(1) : "")
        + (exponent < 0 ? "e-" : "e+")
        + (Math.abs(exponent) < 10 ? "0" : "")
        + Math.abs(exponent);
  }

  /** White space as Python's strip() and split() see it. */
  static boolean isSpace(int point) {
    return switch (point) {
      case ' ', 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000 -> true;
      default ->
          (point >= 0x09 && point <= 0x0D)
              || (point >= 0x1C && point <= 0x1F)
              || (point >= 0x2000 && point <= 0x200A);
    };
  }

  static boolean isPrintable(int point) {
    return switch (Character.getType(point)) {
      case Character.CONTROL,
          Character.FORMAT,
          Character.SURROGATE,
          Character.PRIVATE_USE,
          Character.UNASSIGNED,
          Character.LINE_SEPARATOR,
          Character.PARAGRAPH_SEPARATOR ->
          false;
      case Character.SPACE_SEPARATOR -> point == ' ';
      default -> true;
    };
  }
}
