package espalier.text.jinja;

import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** {@code '%s has %d' % (name, count)}. */
final class PercentFormat {

  private static final Pattern FIELD =
      Pattern.compile(
          "%(?:\\(([^)]*)\\))?([-+ #0]*)(\\d{1,9})?(?:\\.(\\d{0,9}))?([diouxXeEfFgGcrsa%])");

  private PercentFormat() {}

  static String format(Run run, String format, Object values) {
    run.walk(format.length());
    List<?> positional = values instanceof Tuple tuple ? tuple : List.of(values);
    int taken = 0;
    StringBuilder text = new StringBuilder();
    Matcher field = FIELD.matcher(format);
    int last = 0;
    for (int at = format.indexOf('%'); at >= 0; at = format.indexOf('%', last)) {
      text.append(format, last, at);
      if (!field.region(at, format.length()).lookingAt()) {
        throw new JinjaException(
            "unsupported format at '%s'"
                .formatted(format.substring(at, Math.min(format.length(), at + 10))));
      }
      last = field.end();
      if (field.group(5).equals("%")) {
        text.append('%');
        continue;
      }
      Object value;
      if (field.group(1) != null) {
        value = values instanceof Map<?, ?> named ? named.get(field.group(1)) : null;
        if (value == null) {
          throw new JinjaException(
              "the format names '%s', which is not given".formatted(field.group(1)));
        }
        taken = positional.size();
      } else {
        if (taken >= positional.size()) {
          throw new JinjaException("not enough arguments for format string");
        }
        value = positional.get(taken++);
      }
      text.append(one(run, field, value));
      run.string(text.length());
    }
    // what could hold named values may stay unused
    boolean needed = values instanceof Tuple || !(values instanceof List || values instanceof Map);
    if (taken < positional.size() && needed) {
      throw new JinjaException("not all arguments converted during string formatting");
    }
    return run.made(text.append(format, last, format.length()).toString());
  }

  private static String one(Run run, Matcher field, Object value) {
    String flags = field.group(2);
    char type = field.group(5).charAt(0);
    boolean text = type == 's' || type == 'r' || type == 'a';
    boolean left = flags.indexOf('-') >= 0;
    boolean zeros = flags.indexOf('0') >= 0 && !left && !text;
    FormatSpec spec =
        new FormatSpec(
            zeros ? "0" : " ",
            left ? '<' : zeros ? '=' : '>',
            flags.indexOf('+') >= 0 ? '+' : flags.indexOf(' ') >= 0 ? ' ' : '-',
            flags.indexOf('#') >= 0,
            field.group(3) == null ? 0 : Integer.parseInt(field.group(3)),
            ' ',
            field.group(4) == null
                ? -1
                : field.group(4).isEmpty() ? 0 : Integer.parseInt(field.group(4)),
            type);
    if (text) {
      return spec.text(run, type == 's' ? PythonText.str(run, value) : PythonText.repr(run, value));
    }
    if (type == 'c' && value instanceof String character) {
      return spec.text(run, character);
    }
    Number number = Values.number(value);
    if (number == null) {
      throw value instanceof Undefined undefined
          ? undefined.error()
          : new JinjaException(
              "%%%c format: a number is required, not %s".formatted(type, Values.typeOf(value)));
    }
    return spec.number(run, number);
  }
}
