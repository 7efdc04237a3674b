package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/** Filters of numbers, of what may be undefined, and between types. */
final class ValueFilters {

  private static final Pattern BETWEEN_DIGITS =
      Pattern.compile("(?<=[\\p{Nd}a-zA-Z])_(?=[\\p{Nd}a-zA-Z])");

  private ValueFilters() {}

  static void define(Map<String, Filters.Function> filters) {
    filters.put("default", ValueFilters::otherwise);
    filters.put("d", ValueFilters::otherwise);
    filters.put("abs", (_, value, a) -> absolute(value, a));
    filters.put("int", ValueFilters::integer);
    filters.put("float", ValueFilters::real);
    filters.put("round", ValueFilters::round);
    filters.put("string", (run, value, a) -> text(run, value, "string", a));
    filters.put("safe", (run, value, a) -> run.safe(text(run, value, "safe", a)));
    filters.put("tojson", JsonText::of);
    filters.put(
        "attr",
        (run, value, a) -> {
          String name = a.bind("attr", "name").text(0);
          // only fields and methods: an element of that key does not count
          return value instanceof Map<?, ?> dict && DictMethods.find(dict, name) == null
              ? new Undefined("'dict object' has no attribute '%s'".formatted(name))
              : Lookup.attribute(run, value, name);
        });
    filters.put(
        "items",
        (run, value, a) -> {
          a.bind("items");
          return new Generator(() -> items(run, value));
        });
    filters.put("dictsort", ValueFilters::sortedItems);
  }

  private static List<Object> items(Run run, Object value) {
    return switch (value) {
      case Undefined _ -> List.of();
      case Map<?, ?> dict -> DictMethods.items(run, dict);
      default -> throw new JinjaException("Can only get item pairs from a mapping.");
    };
  }

  private static String text(Run run, Object value, String name, Arguments arguments) {
    arguments.bind(name);
    return PythonText.str(run, value);
  }

  private static Object otherwise(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("default", "default_value?", "boolean?");
    boolean missing = value instanceof Undefined || (bound.truth(1) && !Values.truth(value));
    return missing ? bound.get(0, "") : value;
  }

  private static Object absolute(Object value, Arguments arguments) {
    arguments.bind("abs");
    return switch (Values.number(value)) {
      case Double number -> Math.abs(number);
      case Number number -> WholeNumbers.fitted(WholeNumbers.of(number).abs());
      case null -> throw wrong("abs", value);
    };
  }

  private static JinjaException wrong(String filter, Object value) {
    return value instanceof Undefined undefined
        ? undefined.error()
        : new JinjaException(
            "bad operand type for %s(): '%s'".formatted(filter, Values.typeOf(value)));
  }

  private static Object integer(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("int", "default?", "base?");
    Object otherwise = bound.get(0, 0L);
    int radix = bound.integer(1, 10);
    if (value instanceof Undefined undefined) {
      throw undefined.error();
    }
    if (value instanceof String text) {
      String digits = digits(run, text);
      try {
        return WholeNumbers.parse(withoutPrefix(digits, radix), radix);
      } catch (NumberFormatException e) {
        Object number = real(run, text, Arguments.of(None.NONE));
        return number instanceof Double real ? whole(real, otherwise) : otherwise;
      }
    }
    return switch (Values.number(value)) {
      case Double number -> whole(number, otherwise);
      case null -> otherwise;
      case Number number -> number;
    };
  }

  private static String withoutPrefix(String digits, int radix) {
    String prefix = radix == 16 ? "0x" : radix == 8 ? "0o" : radix == 2 ? "0b" : "";
    return !prefix.isEmpty() && digits.regionMatches(true, 0, prefix, 0, 2)
        ? digits.substring(2)
        : digits;
  }

  /** A text less the white space around it and the underscores between its digits. */
  private static String digits(Run run, String text) {
    return BETWEEN_DIGITS.matcher(StringMethods.strip(run, text, null, true, true)).replaceAll("");
  }

  private static Object whole(double number, Object otherwise) {
    if (Double.isNaN(number) || Double.isInfinite(number)) {
      return otherwise;
    }
    return WholeNumbers.fitted(new BigDecimal(number).toBigInteger());
  }

  private static Object real(Run run, Object value, Arguments arguments) {
    Object otherwise = arguments.bind("float", "default?").get(0, 0.0);
    if (value instanceof Undefined undefined) {
      throw undefined.error();
    }
    if (value instanceof String text) {
      String digits = digits(run, text);
      switch (digits.toLowerCase(Locale.ROOT)) {
        case "inf", "+inf", "infinity", "+infinity" -> {
          return Double.POSITIVE_INFINITY;
        }
        case "-inf", "-infinity" -> {
          return Double.NEGATIVE_INFINITY;
        }
        case "nan", "+nan", "-nan" -> {
          return Double.NaN;
        }
        default -> {}
      }
      // Java would also read 1f, 0x1p3 and NaN as it spells it
      if (digits.length() > 1000
          || !digits.matches("[-+]?(\\d+\\.?\\d*|\\.\\d+)([eE][-+]?\\d+)?")) {
        return otherwise;
      }
      return Double.valueOf(digits);
    }
    Number number = Values.number(value);
    return number == null ? otherwise : number.doubleValue();
  }

  private static Object round(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("round", "precision?", "method?");
    int precision = Math.clamp(bound.integer(0, 0), -400, 400);
    String method = bound.text(1, "common");
    Number number = Values.number(value);
    if (number == null) {
      throw wrong("round", value);
    }
    double exact = number.doubleValue();
    double power = Math.pow(10, precision);
    return switch (method) {
      case "common" ->
          !(number instanceof Double) && precision >= 0 ? number : rounded(number, precision);
      case "ceil" -> Math.ceil(exact * power) / power;
      case "floor" -> Math.floor(exact * power) / power;
      default -> throw new JinjaException("method must be common, ceil or floor");
    };
  }

  private static Object rounded(Number number, int precision) {
    if (number instanceof Double real && (real.isNaN() || real.isInfinite())) {
      return number;
    }
    BigDecimal exact =
        number instanceof Double real ? new BigDecimal(real) : new BigDecimal(number.toString());
    BigDecimal result = exact.setScale(precision, RoundingMode.HALF_EVEN);
    if (number instanceof Double) {
      return Math.copySign(result.doubleValue(), number.doubleValue());
    }
    return WholeNumbers.fitted(result.toBigInteger());
  }

  private static Object sortedItems(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("dictsort", "case_sensitive?", "by?", "reverse?");
    if (!(value instanceof Map<?, ?> dict)) {
      throw wrong("dictsort", value);
    }
    int place =
        switch (bound.text(1, "key")) {
          case "key" -> 0;
          case "value" -> 1;
          default -> throw new JinjaException("dictsort() sorts by \"key\" or \"value\"");
        };
    boolean sensitive = bound.truth(0);
    List<Object> items = new ArrayList<>(DictMethods.items(run, dict));
    SequenceFilters.sort(
        run,
        items,
        item -> SequenceFilters.folded(run, ((Tuple) item).get(place), sensitive),
        bound.truth(2));
    return items;
  }
}
