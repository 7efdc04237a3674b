package espalier.text.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Arithmetic and comparison, with Python's rules. */
final class Operators {

  private Operators() {}

  static Object apply(Run run, String operator, Object left, Object right) {
    Number a = Values.number(left);
    Number b = Values.number(right);
    if (a != null && b != null) {
      return compute(operator, a, b);
    }
    if (operator.equals("%") && left instanceof String format) {
      return PercentFormat.format(run, format, right);
    }
    return switch (operator) {
      case "+" -> join(run, left, right);
      case "*" -> a == null ? repeat(run, left, b, right) : repeat(run, right, a, left);
      default -> throw unsupported(operator, left, right);
    };
  }

  private static Object join(Run run, Object left, Object right) {
    if (left instanceof String a && right instanceof String b) {
      boolean safe = run.isSafe(a) || run.isSafe(b);
      String first = safe && !run.isSafe(a) ? TextFilters.escaped(run, a) : a;
      String second = safe && !run.isSafe(b) ? TextFilters.escaped(run, b) : b;
      run.string((long) first.length() + second.length());
      return safe ? run.safe(first + second) : first + second;
    }
    if (left instanceof List<?> a
        && right instanceof List<?> b
        && !(left instanceof Range)
        && Values.areAlike(a, b)) {
      run.list((long) a.size() + b.size());
      List<Object> both = new ArrayList<>(a.size() + b.size());
      both.addAll(a);
      both.addAll(b);
      return left instanceof Tuple ? new Tuple(both) : both;
    }
    throw unsupported("+", left, right);
  }

  private static Object repeat(Run run, Object what, @Nullable Number times, Object other) {
    if (times == null || times instanceof Double) {
      throw unsupported("*", what, other);
    }
    long count = times instanceof BigInteger ? Integer.MAX_VALUE : times.longValue();
    long repeats =
        times instanceof BigInteger whole && whole.signum() < 0
            ? 0
            : Math.clamp(count, 0, Integer.MAX_VALUE);
    return switch (what) {
      case String text -> {
        run.string(text.length() * repeats);
        yield run.alike(text, text.repeat(text.isEmpty() ? 0 : (int) repeats));
      }
      case List<?> list when !(list instanceof Range) -> {
        run.list(list.size() * repeats);
        List<Object> all = new ArrayList<>();
        for (long i = 0; i < repeats && !list.isEmpty(); i++) {
          all.addAll(list);
        }
        yield what instanceof Tuple ? new Tuple(all) : all;
      }
      default -> throw unsupported("*", what, other);
    };
  }

  private static Object compute(String operator, Number a, Number b) {
    boolean whole = !(a instanceof Double) && !(b instanceof Double);
    double p = a.doubleValue();
    double q = b.doubleValue();
    if (whole && !operator.equals("/") && !(operator.equals("**") && q < 0)) {
      return WholeNumbers.compute(operator, a, b);
    }
    return switch (operator) {
      case "+" -> p + q;
      case "-" -> p - q;
      case "*" -> p * q;
      case "/" -> p / divisor(q);
      case "//" -> Math.floor(p / divisor(q));
      case "%" -> modulo(p, divisor(q));
      case "**" -> power(q < 0 ? divisor(p) : p, q);
      default -> throw new JinjaException("the operator %s is not known".formatted(operator));
    };
  }

  private static double divisor(double number) {
    if (number == 0) {
      throw new JinjaException("division by zero");
    }
    return number;
  }

  /** The remainder with the sign of the divisor. */
  private static double modulo(double p, double q) {
    double rest = p % q;
    return rest != 0 && (rest < 0) != (q < 0) ? rest + q : rest;
  }

  private static double power(double base, double exponent) {
    double power = Math.pow(base, exponent);
    if (Double.isInfinite(power) && !Double.isInfinite(base) && !Double.isInfinite(exponent)) {
      throw new JinjaException("the result of ** is too large");
    }
    if (Double.isNaN(power) && !Double.isNaN(base) && !Double.isNaN(exponent)) {
      throw new JinjaException("a root of a negative number is no real number");
    }
    return power;
  }

  static Object signed(boolean negative, Object operand) {
    return switch (Values.number(operand)) {
      case Double number -> negative ? -number : number;
      case Number number -> negative ? WholeNumbers.compute("-", 0L, number) : number;
      case null ->
          throw operand instanceof Undefined undefined
              ? undefined.error()
              : new JinjaException(
                  "bad operand type for unary %s: '%s'"
                      .formatted(negative ? "-" : "+", Values.typeOf(operand)));
    };
  }

  /** Whether {@code left operator right}. */
  static boolean holds(Run run, String operator, Object left, Object right) {
    return switch (operator) {
      case "==" -> Values.equal(run, left, right);
      case "!=" -> !Values.equal(run, left, right);
      case "in" -> Values.contains(run, right, left);
      case "not in" -> !Values.contains(run, right, left);
      default -> {
        int order = compare(run, operator, left, right);
        yield order != UNORDERED
            && switch (operator) {
              case "<" -> order < 0;
              case "<=" -> order <= 0;
              case ">" -> order > 0;
              default -> order >= 0;
            };
      }
    };
  }

  private static final int UNORDERED = 2; // one of both is not a number

  /**
   * -1, 0 or 1 as {@code left} comes before, with or after {@code right}.
   *
   * @throws JinjaException when they cannot be compared
   */
  static int compare(Run run, String operator, Object left, Object right) {
    run.step();
    Number a = Values.number(left);
    Number b = Values.number(right);
    if (a != null && b != null) {
      return order(a, b);
    }
    if (left instanceof String x && right instanceof String y) {
      run.walk(Math.min(x.length(), y.length()));
      return compare(x, y);
    }
    if (left instanceof List<?> x
        && right instanceof List<?> y
        && !(left instanceof Range)
        && Values.areAlike(x, y)) {
      run.enter();
      try {
        for (int i = 0; i < Math.min(x.size(), y.size()); i++) {
          if (!Values.equal(run, x.get(i), y.get(i))) {
            return compare(run, operator, x.get(i), y.get(i));
          }
        }
        return Integer.compare(x.size(), y.size());
      } finally {
        run.leave();
      }
    }
    throw left instanceof Undefined undefined
        ? undefined.error()
        : right instanceof Undefined undefined
            ? undefined.error()
            : new JinjaException(
                "'%s' not supported between instances of '%s' and '%s'"
                    .formatted(operator, Values.typeOf(left), Values.typeOf(right)));
  }

  /** -1, 0 or 1 as {@code a} is less than, equal to or more than {@code b}; or UNORDERED. */
  static int order(Number a, Number b) {
    if (a instanceof Long x && b instanceof Long y) {
      return Long.compare(x, y);
    }
    if (!(a instanceof Double) && !(b instanceof Double)) {
      return WholeNumbers.of(a).compareTo(WholeNumbers.of(b));
    }
    double p = a.doubleValue();
    double q = b.doubleValue();
    return p < q ? -1 : p > q ? 1 : p == q ? 0 : UNORDERED;
  }

  /** By code points, which differs from the order of UTF-16 units beyond U+FFFF. */
  private static int compare(String x, String y) {
    int shorter = Math.min(x.length(), y.length());
    int same = 0;
    while (same < shorter && x.charAt(same) == y.charAt(same)) {
      same++;
    }
    if (same == shorter) {
      return Integer.compare(x.length(), y.length());
    }
    char c = x.charAt(same);
    char d = y.charAt(same);
    boolean beyond = Character.isSurrogate(c);
    return beyond == Character.isSurrogate(d) ? (c < d ? -1 : 1) : beyond ? 1 : -1;
  }

  private static JinjaException unsupported(String operator, Object left, Object right) {
    if (left instanceof Undefined undefined) {
      return undefined.error();
    }
    if (right instanceof Undefined undefined) {
      return undefined.error();
    }
    if (operator.equals("+") && left instanceof String) {
      return new JinjaException(
          "can only concatenate str (not \"%s\") to str".formatted(Values.typeOf(right)));
    }
    return new JinjaException(
        "unsupported operand types for %s: '%s' and '%s'"
            .formatted(operator, Values.typeOf(left), Values.typeOf(right)));
  }
}
