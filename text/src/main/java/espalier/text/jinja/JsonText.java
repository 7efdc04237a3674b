package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Values as JSON, laid out as Python's json.dumps does; chat templates do not escape it for HTML.
 */
final class JsonText {

  private final Run run;
  private final boolean ascii;
  private final boolean sorted;
  private final boolean indented;
  private final String indent;
  private final String comma;
  private final String colon;
  private final StringBuilder text = new StringBuilder();

  private JsonText(Run run, Bound options) {
    this.run = run;
    ascii = options.truth(0);
    indented = options.given(1);
    indent = indented ? indent(run, options) : "";
    sorted = options.truth(3);
    if (options.given(2)) {
      List<Object> separators = Values.iterate(run, options.get(2));
      if (separators.size() != 2) {
        throw new JinjaException("tojson() expects two separators");
      }
      comma = PythonText.str(run, separators.get(0));
      colon = PythonText.str(run, separators.get(1));
    } else {
      comma = indented ? "," : ", ";
      colon = ": ";
    }
  }

  /**
   * The filter {@code tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)}.
   */
  static String of(Run run, Object value, Arguments arguments) {
    Bound options =
        arguments.bind("tojson", "ensure_ascii?", "indent?", "separators?", "sort_keys?");
    JsonText json = new JsonText(run, options);
    json.write(value, 0);
    return run.made(json.text.toString());
  }

  private static String indent(Run run, Bound options) {
    if (options.get(1) instanceof String text) {
      return text;
    }
    int width = Math.max(0, options.integer(1));
    run.string(width);
    return " ".repeat(width);
  }

  private void write(Object value, int depth) {
    run.step();
    run.enter();
    if (text.length() > run.outputLimit()) {
      run.string(text.length());
    }
    switch (value) {
      case None _ -> text.append("null");
      case Boolean bool -> text.append(bool);
      case Double number -> text.append(number(number));
      case Number number -> text.append(number);
      case String string -> quote(string);
      case List<?> list when !(list instanceof Range) -> {
        text.append('[');
        boolean first = true;
        for (Object element : list) {
          separate(first, depth + 1);
          write(element, depth + 1);
          first = false;
        }
        close(']', list.isEmpty(), depth);
      }
      case Map<?, ?> dict -> {
        text.append('{');
        boolean first = true;
        for (Map.Entry<?, ?> entry : entries(dict)) {
          separate(first, depth + 1);
          quote(key(entry.getKey()));
          text.append(colon);
          write(entry.getValue(), depth + 1);
          first = false;
        }
        close('}', dict.isEmpty(), depth);
      }
      default ->
          throw new JinjaException(
              "Object of type %s is not JSON serializable".formatted(Values.typeOf(value)));
    }
    run.leave();
  }

  private List<Map.Entry<?, ?>> entries(Map<?, ?> dict) {
    List<Map.Entry<?, ?>> entries = new ArrayList<>(dict.entrySet());
    if (sorted) {
      entries.sort((a, b) -> Operators.compare(run, "<", a.getKey(), b.getKey()));
    }
    return entries;
  }

  private void separate(boolean first, int depth) {
    if (!first) {
      text.append(comma);
    }
    newLine(depth);
  }

  private void close(char bracket, boolean empty, int depth) {
    if (!empty) {
      newLine(depth);
    }
    text.append(bracket);
  }

  private void newLine(int depth) {
    if (indented) {
      run.string(text.length() + (long) indent.length() * depth);
      text.append('\n').repeat(indent, depth);
    }
  }

  private String key(Object key) {
    return switch (key) {
      case String string -> string;
      case None _ -> "null";
      case Boolean bool -> bool.toString();
      case Double number -> number(number);
      case Number number -> number.toString();
      default ->
          throw new JinjaException(
              "keys must be str, int, float, bool or None, not %s".formatted(Values.typeOf(key)));
    };
  }

  private static String number(double number) {
    return Double.isNaN(number)
        ? "NaN"
        : Double.isInfinite(number)
            ? (number > 0 ? "Infinity" : "-Infinity")
            : PythonText.number(number);
  }

  private void quote(String string) {
    text.append('"');
    for (int i = 0; i < string.length(); i++) {
      char c = string.charAt(i);
      switch (c) {
        case '"' -> text.append("\\\"");
        case '\\' -> text.append("\\\\");
        case '\n' -> text.append("\\n");
        case '\r' -> text.append("\\r");
        case '\t' -> text.append("\\t");
        case '\b' -> text.append("\\b");
        case '\f' -> text.append("\\f");
        default -> {
          if (c < ' ' || (ascii && c > '~')) {
            text.append("\\u%04x".formatted((int) c));
          } else {
            text.append(c);
          }
        }
      }
    }
    text.append('"');
  }
}
