package espalier.text.jinja;

import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** The tests that stand after {@code is}. */
final class Tests {

  private static final Set<String> BINARY =
      Set.of(
          "==",
          "eq",
          "equalto",
          "!=",
          "ne",
          ">",
          "gt",
          "greaterthan",
          "<",
          "lt",
          "lessthan",
          ">=",
          "ge",
          "<=",
          "le",
          "in",
          "sameas",
          "divisibleby");

  private static final Set<String> UNARY =
      Set.of(
          "defined",
          "undefined",
          "none",
          "string",
          "number",
          "integer",
          "float",
          "boolean",
          "true",
          "false",
          "mapping",
          "sequence",
          "iterable",
          "callable",
          "odd",
          "even",
          "lower",
          "upper",
          "escaped",
          "filter",
          "test");

  private Tests() {}

  static boolean isKnown(String name) {
    return UNARY.contains(name) || BINARY.contains(name);
  }

  static boolean test(Run run, String name, Object value, Arguments arguments) {
    run.step();
    if (BINARY.contains(name)) {
      return binary(run, name, value, arguments.bind(name, "other").get(0));
    }
    if (!UNARY.contains(name)) {
      throw new JinjaException("no test is named '%s'".formatted(name));
    }
    arguments.bind(name);
    return unary(run, name, value);
  }

  private static boolean unary(Run run, String name, Object value) {
    return switch (name) {
      case "defined" -> !(value instanceof Undefined);
      case "undefined" -> value instanceof Undefined;
      case "none" -> value == None.NONE;
      case "string" -> value instanceof String;
      case "number" -> Values.number(value) != null;
      case "integer" -> value instanceof Number && !(value instanceof Double);
      case "float" -> value instanceof Double;
      case "boolean" -> value instanceof Boolean;
      case "true" -> Boolean.TRUE.equals(value);
      case "false" -> Boolean.FALSE.equals(value);
      case "mapping" -> value instanceof Map;
      case "sequence" ->
          value instanceof List
              || value instanceof Map
              || value instanceof String
              || value instanceof Undefined; // it has a length and elements, if none
      case "iterable" ->
          value instanceof Collection
              || value instanceof Generator
              || value instanceof Map
              || value instanceof String
              || value instanceof Undefined;
      case "callable" ->
          value instanceof Callable || value instanceof Undefined; // which then fails
      case "odd" ->
          Operators.apply(run, "%", value, 2L) instanceof Number rest && rest.doubleValue() == 1;
      case "even" ->
          Operators.apply(run, "%", value, 2L) instanceof Number rest && rest.doubleValue() == 0;
      case "lower" -> cased(run, value, "islower");
      case "upper" -> cased(run, value, "isupper");
      case "filter" -> value instanceof String filter && Filters.isKnown(filter);
      case "test" -> value instanceof String test && isKnown(test);
      default -> run.isSafe(value); // "escaped"
    };
  }

  private static boolean cased(Run run, Object value, String method) {
    String text = PythonText.str(run, value);
    Callable test = StringMethods.find(text, method);
    return test != null && Boolean.TRUE.equals(test.call(run, Arguments.NONE));
  }

  private static boolean binary(Run run, String name, Object value, Object other) {
    return switch (name.toLowerCase(Locale.ROOT)) {
      case "in" -> Values.contains(run, other, value);
      // nothing can change a value, so what is equal and of one type is the same
      case "sameas" ->
          Values.typeOf(value).equals(Values.typeOf(other)) && Values.equal(run, value, other);
      case "divisibleby" -> Values.equal(run, Operators.apply(run, "%", value, other), 0L);
      default -> Operators.holds(run, operator(name), value, other);
    };
  }

  private static String operator(String name) {
    return switch (name) {
      case "eq", "equalto" -> "==";
      case "ne" -> "!=";
      case "gt", "greaterthan" -> ">";
      case "lt", "lessthan" -> "<";
      case "ge" -> ">=";
      case "le" -> "<=";
      default -> name;
    };
  }
}
