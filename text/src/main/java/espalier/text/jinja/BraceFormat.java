package espalier.text.jinja;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** {@code '{} has {count:>5}'.format(name, count=3)}. */
final class BraceFormat {

  private static final Pattern FIELD =
      Pattern.compile(
          "\\{([^{}\\[\\].!:]*)((?:\\.[^{}\\[\\].!:]+|\\[[^\\]{}]*\\])*)(?:!([rsa]))?(?::((?:[^{}]|\\{[^{}]*\\})*+))?\\}");
  private static final Pattern STEP = Pattern.compile("\\.([^.\\[]+)|\\[([^\\]]*)\\]");
  private static final Pattern SPEC =
      Pattern.compile(
          "(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\\d{1,9})?([,_])?(?:\\.(\\d{1,9}))?([a-zA-Z%])?",
          Pattern.DOTALL);

  private final Run run;
  private final Arguments arguments;
  private int automatic; // fields without a name so far
  private boolean byPlace;

  private BraceFormat(Run run, Arguments arguments) {
    this.run = run;
    this.arguments = arguments;
  }

  static String format(Run run, String format, Arguments arguments) {
    return new BraceFormat(run, arguments).format(format);
  }

  private String format(String format) {
    StringBuilder text = new StringBuilder();
    Matcher field = FIELD.matcher(format);
    int i = 0;
    while (i < format.length()) {
      char c = format.charAt(i);
      if (c != '{' && c != '}') {
        text.append(c);
        i++;
      } else if (i + 1 < format.length() && format.charAt(i + 1) == c) {
        text.append(c);
        i += 2;
      } else {
        if (!field.region(i, format.length()).lookingAt()) {
          throw new JinjaException("the format has a brace at %d that stands alone".formatted(i));
        }
        String name = field.group(1).isEmpty() ? String.valueOf(automatic++) : field.group(1);
        byPlace |= !field.group(1).isEmpty() && isIndex(name);
        if (byPlace && automatic > 0) {
          throw new JinjaException("the format mixes {} with numbered fields");
        }
        Object value = value(run, name, field.group(2), arguments);
        String specification = field.group(4);
        if (specification != null && specification.indexOf('{') >= 0) {
          specification = format(specification); // of fields that hold none in turn
        }
        text.append(one(run, value, field.group(3) != null, field.group(3), specification));
        run.string(text.length());
        i = field.end();
      }
    }
    return run.made(text.toString());
  }

  private static Object value(Run run, String name, String steps, Arguments arguments) {
    Object value = null;
    if (isIndex(name)) {
      int index = Integer.parseInt(name);
      value = index < arguments.positional().size() ? arguments.positional().get(index) : null;
    } else {
      value = arguments.named().get(name);
    }
    if (value == null) {
      throw new JinjaException("the format asks for '%s', which is not given".formatted(name));
    }
    Matcher step = STEP.matcher(steps);
    while (step.find()) {
      String key = step.group(1) == null ? step.group(2) : step.group(1);
      value =
          step.group(2) == null
              ? Lookup.attribute(run, value, key)
              : Lookup.item(run, value, isIndex(key) ? Long.valueOf(key) : key);
    }
    return value;
  }

  private static boolean isIndex(String name) {
    return !name.isEmpty() && name.length() < 10 && name.chars().allMatch(Character::isDigit);
  }

  private static String one(
      Run run, Object value, boolean converted, String conversion, String specification) {
    Object shown = value;
    if (converted) {
      shown = conversion.equals("s") ? PythonText.str(run, value) : PythonText.repr(run, value);
    }
    if (specification == null || specification.isEmpty()) {
      return PythonText.str(run, shown);
    }
    Matcher parts = SPEC.matcher(specification);
    if (!parts.matches()) {
      throw new JinjaException("invalid format specifier '%s'".formatted(specification));
    }
    boolean zeros = parts.group(5) != null && parts.group(2) == null;
    FormatSpec spec =
        new FormatSpec(
            parts.group(1) != null ? parts.group(1) : zeros ? "0" : " ",
            parts.group(2) != null ? parts.group(2).charAt(0) : zeros ? '=' : ' ',
            parts.group(3) != null ? parts.group(3).charAt(0) : '-',
            parts.group(4) != null,
            parts.group(6) != null ? Integer.parseInt(parts.group(6)) : 0,
            parts.group(7) != null ? parts.group(7).charAt(0) : ' ',
            parts.group(8) != null ? Integer.parseInt(parts.group(8)) : -1,
            parts.group(9) != null ? parts.group(9).charAt(0) : ' ');
    boolean text = spec.type() == 's' || (spec.type() == ' ' && shown instanceof Boolean);
    Number number = text ? null : Values.number(shown);
    if (number != null) {
      return spec.number(run, number);
    }
    if (spec.type() != ' ' && spec.type() != 's') {
      throw new JinjaException(
          "unknown format code '%c' for '%s'".formatted(spec.type(), Values.typeOf(shown)));
    }
    return spec.text(run, PythonText.str(run, shown));
  }
}
