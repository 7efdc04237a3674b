package espalier.text.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What Python's own operations make of values: truth, equality, length, iteration. */
final class Values {

  private static final int DEEPEST = 200; // of what the caller hands in

  private Values() {}

  /** A value that the caller hands in, as one of this language. */
  static Object fromJava(@Nullable Object value) {
    return fromJava(value, 0);
  }

  private static Object fromJava(@Nullable Object value, int depth) {
    if (depth > DEEPEST) {
      throw new IllegalArgumentException(
          "a variable of the template nests more than %d levels deep; JSON from real models does not"
              .formatted(DEEPEST));
    }
    return switch (value) {
      case null -> None.NONE;
      case Boolean bool -> bool;
      case CharSequence text -> text.toString();
      case Double number -> number;
      case Float number -> number.doubleValue();
      case BigDecimal number -> number.doubleValue();
      case BigInteger number when number.bitLength() > 63 -> number;
      case Number number -> number.longValue();
      case Map<?, ?> map -> {
        Map<Object, Object> dict = LinkedHashMap.newLinkedHashMap(map.size());
        map.forEach((key, element) -> dict.put(String.valueOf(key), fromJava(element, depth + 1)));
        yield dict;
      }
      case Collection<?> elements -> {
        List<Object> list = new ArrayList<>(elements.size());
        elements.forEach(element -> list.add(fromJava(element, depth + 1)));
        yield list;
      }
      default ->
          throw new IllegalArgumentException(
              "a variable of the template is a %s but must be made of strings, numbers, booleans,"
                      .formatted(value.getClass().getName())
                  + " null, lists and maps");
    };
  }

  /** The name of a value's type in Python, for errors. */
  static String typeOf(Object value) {
    return switch (value) {
      case None _ -> "NoneType";
      case Boolean _ -> "bool";
      case Double _ -> "float";
      case Number _ -> "int";
      case String _ -> "str";
      case Map<?, ?> _ -> "dict";
      case Tuple _ -> "tuple";
      case Range _ -> "range";
      case View view -> view.type();
      case Generator generator -> generator.type();
      case List<?> _ -> "list";
      case Undefined _ -> "Undefined";
      case Namespace _ -> "Namespace";
      case Macro _ -> "Macro";
      case Loop _ -> "LoopContext";
      default -> "function";
    };
  }

  static boolean truth(Object value) {
    return switch (value) {
      case Boolean bool -> bool;
      case String text -> !text.isEmpty();
      case Long number -> number != 0;
      case Double number -> number != 0;
      case None _, Undefined _ -> false;
      case Collection<?> elements -> !elements.isEmpty();
      case Map<?, ?> dict -> !dict.isEmpty();
      default -> true;
    };
  }

  static boolean equal(Run run, Object left, Object right) {
    Number a = number(left);
    Number b = number(right);
    if (a != null && b != null) {
      return Operators.order(a, b) == 0;
    }
    if (left instanceof String x && right instanceof String y) {
      run.walk(Math.min(x.length(), y.length()));
      return x.equals(y);
    }
    if (left instanceof Undefined && right instanceof Undefined) {
      return true;
    }
    run.step();
    run.enter();
    try {
      return switch (left) {
        case List<?> x -> right instanceof List<?> y && areAlike(x, y) && equalElements(run, x, y);
        case Map<?, ?> x -> right instanceof Map<?, ?> y && equalEntries(run, x, y);
        default -> left.equals(right);
      };
    } finally {
      run.leave();
    }
  }

  /** Whether both are lists, both tuples or both ranges. */
  static boolean areAlike(List<?> x, List<?> y) {
    return x instanceof Tuple == y instanceof Tuple && x instanceof Range == y instanceof Range;
  }

  private static boolean equalElements(Run run, List<?> x, List<?> y) {
    if (x.size() != y.size()) {
      return false;
    }
    for (int i = 0; i < x.size(); i++) {
      if (!equal(run, x.get(i), y.get(i))) {
        return false;
      }
    }
    return true;
  }

  private static boolean equalEntries(Run run, Map<?, ?> x, Map<?, ?> y) {
    if (x.size() != y.size()) {
      return false;
    }
    for (Map.Entry<?, ?> entry : x.entrySet()) {
      Object other = y.get(entry.getKey());
      if (other == null || !equal(run, entry.getValue(), other)) {
        return false;
      }
    }
    return true;
  }

  /** A number or boolean as a number; null for all else. */
  static @Nullable Number number(Object value) {
    return switch (value) {
      case Number number -> number;
      case Boolean bool -> bool ? 1L : 0L;
      default -> null;
    };
  }

  /** Whether {@code element in container}. */
  static boolean contains(Run run, Object container, Object element) {
    return switch (container) {
      case String text -> {
        if (!(element instanceof String part)) {
          throw element instanceof Undefined undefined
              ? undefined.error()
              : new JinjaException(
                  "'in <string>' requires string as left operand, not " + typeOf(element));
        }
        yield CodePoints.find(run, text, part, 0) >= 0;
      }
      case Map<?, ?> dict -> dict.containsKey(key(element));
      case Collection<?> all -> all.stream().anyMatch(value -> equal(run, value, element));
      case Generator generator -> {
        Object next = generator.next();
        while (next != null && !equal(run, next, element)) {
          next = generator.next();
        }
        yield next != null;
      }
      case Undefined _ -> false;
      default ->
          throw new JinjaException(
              "argument of type '%s' is not iterable".formatted(typeOf(container)));
    };
  }

  static long length(Object value) {
    return switch (value) {
      case String text -> text.codePointCount(0, text.length());
      case Collection<?> elements -> elements.size();
      case Map<?, ?> dict -> dict.size();
      case Loop loop -> loop.length();
      case Undefined _ -> 0;
      default ->
          throw new JinjaException("object of type '%s' has no len()".formatted(typeOf(value)));
    };
  }

  /**
   * The elements that a loop goes through: of a list, the keys of a dict, the characters of a text.
   */
  @SuppressWarnings("unchecked") // all lists and maps in a rendering were made here
  static List<Object> iterate(Run run, Object value) {
    return switch (value) {
      case List<?> list -> (List<Object>) list;
      case View view -> view.elements();
      case Generator generator -> generator.rest();
      case Map<?, ?> dict -> {
        run.list(dict.size());
        yield new ArrayList<>(((Map<Object, Object>) dict).keySet());
      }
      case String text -> {
        run.list(text.length());
        List<Object> characters = new ArrayList<>(text.length());
        text.codePoints().forEach(point -> characters.add(Character.toString(point)));
        yield characters;
      }
      case Undefined _ -> List.of();
      default -> throw new JinjaException("'%s' object is not iterable".formatted(typeOf(value)));
    };
  }

  /** Whether a value can be the key of a dict; lists and dicts cannot. */
  static boolean canBeKey(Object value) {
    return !(value instanceof Map)
        && !(value instanceof View)
        && (!(value instanceof List<?> list)
            || (list instanceof Tuple && list.stream().allMatch(Values::canBeKey)));
  }

  /**
   * A value as the key of a dict, where 1.0 is 1.
   *
   * @throws JinjaException for what can be no key
   */
  static Object key(Object value) {
    if (!canBeKey(value)) {
      throw new JinjaException("unhashable type: '%s'".formatted(typeOf(value)));
    }
    return value instanceof Double number && number == Math.rint(number) && Math.abs(number) < 1e15
        ? number.longValue()
        : value;
  }
}
