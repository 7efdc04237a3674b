package espalier.text.jinja;

import java.math.BigInteger;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The values that a call hands over, by place and by name. */
record Arguments(List<Object> positional, Map<String, Object> named) {

  static final Arguments NONE = new Arguments(List.of(), Map.of());

  static Arguments of(Object... values) {
    return new Arguments(List.of(values), Map.of());
  }

  /**
   * Sorts the values by a function's parameters.
   *
   * @param parameters names in order; those from the first that ends in ? on may be left out
   * @throws JinjaException when one is missing, or too many, or of an unknown name
   */
  Bound bind(String function, String... parameters) {
    if (positional.size() > parameters.length) {
      throw new JinjaException(
          "%s() takes at most %d arguments but %d were given"
              .formatted(function, parameters.length, positional.size()));
    }
    @Nullable Object[] values = new @Nullable Object[parameters.length];
    int taken = 0;
    for (int i = 0; i < parameters.length; i++) {
      boolean optional = parameters[i].endsWith("?");
      String name =
          optional ? parameters[i].substring(0, parameters[i].length() - 1) : parameters[i];
      Object byName = named.get(name);
      if (i < positional.size()) {
        if (byName != null) {
          throw new JinjaException("%s() got %s twice".formatted(function, name));
        }
        values[i] = positional.get(i);
      } else if (byName != null) {
        values[i] = byName;
        taken++;
      } else if (!optional) {
        throw new JinjaException("%s() misses its argument %s".formatted(function, name));
      }
    }
    if (taken < named.size()) {
      throw new JinjaException(
          "%s() got names %s but knows %s"
              .formatted(function, named.keySet(), Arrays.toString(parameters)));
    }
    return new Bound(function, parameters, values);
  }

  /** All but the first {@code count} positional values. */
  Arguments from(int count) {
    return new Arguments(positional.subList(count, positional.size()), named);
  }

  /** The values of a call in the order of the function's parameters; absent ones are null. */
  @SuppressWarnings("ArrayRecordComponent") // lives for one call and is never compared
  record Bound(String function, String[] parameters, @Nullable Object[] values) {

    boolean has(int i) {
      return values[i] != null;
    }

    /** Whether the value was given and is not None. */
    boolean given(int i) {
      return values[i] != null && values[i] != None.NONE;
    }

    Object get(int i) {
      Object value = values[i];
      if (value == null) {
        throw new JinjaException("%s() misses its argument %s".formatted(function, parameters[i]));
      }
      return value;
    }

    Object get(int i, Object otherwise) {
      Object value = values[i];
      return value == null ? otherwise : value;
    }

    String text(int i) {
      return switch (get(i)) {
        case String text -> text;
        case Object other -> throw wrong(i, "a string", other);
      };
    }

    String text(int i, String otherwise) {
      return given(i) ? text(i) : otherwise;
    }

    /** A whole number that fits an int; larger ones stop at its ends, which serve as well. */
    int integer(int i) {
      return switch (get(i)) {
        case Long number -> Math.clamp(number, -Integer.MAX_VALUE, Integer.MAX_VALUE);
        case Boolean bool -> bool ? 1 : 0;
        case BigInteger number -> number.signum() < 0 ? -Integer.MAX_VALUE : Integer.MAX_VALUE;
        case Object other -> throw wrong(i, "a whole number", other);
      };
    }

    int integer(int i, int otherwise) {
      return given(i) ? integer(i) : otherwise;
    }

    boolean truth(int i) {
      Object value = values[i];
      return value != null && Values.truth(value);
    }

    private JinjaException wrong(int i, String expected, Object got) {
      return got instanceof Undefined undefined
          ? undefined.error()
          : new JinjaException(
              "%s() expects %s for %s but got %s"
                  .formatted(
                      function, expected, parameters[i].replace("?", ""), Values.typeOf(got)));
    }
  }
}
