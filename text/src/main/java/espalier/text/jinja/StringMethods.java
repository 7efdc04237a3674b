package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/** The methods of a text, as Python's str has them. */
final class StringMethods {

  @FunctionalInterface
  private interface Method {
    Object call(Run run, String text, Arguments arguments);
  }

  private static final Map<String, Method> METHODS = new HashMap<>();

  private StringMethods() {}

  static @Nullable Callable find(String text, String name) {
    Method method = METHODS.get(name);
    return method == null
        ? null
        : (run, arguments) -> {
          run.walk(text.length());
          Object result = method.call(run, text, arguments);
          return result instanceof String made ? run.alike(text, made) : result;
        };
  }

  static {
    METHODS.put("strip", (run, text, a) -> strip(run, text, a.bind("strip", "chars?"), true, true));
    METHODS.put(
        "lstrip", (run, text, a) -> strip(run, text, a.bind("lstrip", "chars?"), true, false));
    METHODS.put(
        "rstrip", (run, text, a) -> strip(run, text, a.bind("rstrip", "chars?"), false, true));
    METHODS.put("split", (run, text, a) -> split(run, text, "split", a));
    METHODS.put("rsplit", (run, text, a) -> split(run, text, "rsplit", a));
    METHODS.put(
        "splitlines",
        (run, text, a) -> Splitting.lines(run, text, a.bind("splitlines", "keepends?").truth(0)));
    METHODS.put("partition", (run, text, a) -> partition(run, text, "partition", a));
    METHODS.put("rpartition", (run, text, a) -> partition(run, text, "rpartition", a));
    METHODS.put(
        "join",
        (run, text, a) -> {
          Object parts = a.bind("join", "iterable").get(0);
          return join(run, text, Values.iterate(run, parts));
        });
    METHODS.put(
        "replace",
        (run, text, a) -> {
          Bound b = a.bind("replace", "old", "new", "count?");
          return replace(run, text, b.text(0), b.text(1), b.integer(2, -1));
        });
    METHODS.put("removeprefix", StringMethods::removePrefix);
    METHODS.put("removesuffix", StringMethods::removeSuffix);
    METHODS.put("startswith", (run, text, a) -> hasEnd(run, text, "startswith", a));
    METHODS.put("endswith", (run, text, a) -> hasEnd(run, text, "endswith", a));
    for (String name : List.of("find", "rfind", "index", "rindex", "count")) {
      METHODS.put(name, (run, text, a) -> search(run, text, name, a));
    }
    letters("upper", text -> text.toUpperCase(Locale.ROOT));
    letters("lower", text -> text.toLowerCase(Locale.ROOT));
    letters("casefold", text -> text.toUpperCase(Locale.ROOT).toLowerCase(Locale.ROOT));
    letters("capitalize", Letters::capitalize);
    letters("title", Letters::title);
    letters("swapcase", Letters::swapCase);
    letters("isupper", text -> Letters.isCase(text, Character::isUpperCase));
    letters("islower", text -> Letters.isCase(text, Character::isLowerCase));
    letters("istitle", Letters::isTitle);
    all("isspace", PythonText::isSpace);
    all("isalpha", Character::isLetter);
    all("isalnum", point -> Character.isLetter(point) || Letters.isNumeric(point));
    all("isdigit", Letters::isDigit);
    all("isdecimal", Character::isDigit);
    all("isnumeric", Letters::isNumeric);
    letters("isascii", text -> text.chars().allMatch(c -> c < 128));
    letters("isprintable", text -> text.codePoints().allMatch(PythonText::isPrintable));
    letters("isidentifier", Letters::isIdentifier);
    for (String name : List.of("center", "ljust", "rjust")) {
      METHODS.put(
          name,
          (run, text, a) -> {
            Bound b = a.bind(name, "width", "fillchar?");
            return pad(run, text, b.integer(0), b.text(1, " "), name);
          });
    }
    METHODS.put("zfill", (run, text, a) -> zeros(run, text, a.bind("zfill", "width").integer(0)));
    METHODS.put(
        "expandtabs",
        (run, text, a) ->
            Letters.expandTabs(run, text, a.bind("expandtabs", "size?").integer(0, 8)));
    METHODS.put("format", BraceFormat::format);
    METHODS.put(
        "format_map",
        (run, text, a) -> {
          if (!(a.bind("format_map", "mapping").get(0) instanceof Map<?, ?> fields)) {
            throw new JinjaException("format_map() expects a mapping");
          }
          Map<String, Object> named = new HashMap<>();
          fields.forEach((key, value) -> named.put(PythonText.str(run, key), value));
          return BraceFormat.format(run, text, new Arguments(List.of(), named));
        });
  }

  @FunctionalInterface
  private interface OfText {
    Object apply(String text);
  }

  /** A method without arguments. */
  private static void letters(String name, OfText method) {
    METHODS.put(
        name,
        (run, text, arguments) -> {
          arguments.bind(name);
          Object result = method.apply(text);
          return result instanceof String made ? run.made(made) : result;
        });
  }

  /** A method that asks whether all characters are of a kind, and there is one. */
  private static void all(String name, IntPredicate kind) {
    letters(name, text -> !text.isEmpty() && text.codePoints().allMatch(kind));
  }

  private static String strip(Run run, String text, Bound bound, boolean left, boolean right) {
    return strip(run, text, bound.given(0) ? bound.text(0) : null, left, right);
  }

  /** Takes the characters, or white space where they are null, from the ends. */
  static String strip(
      Run run, String text, @Nullable String characters, boolean left, boolean right) {
    IntPredicate taken =
        characters == null ? PythonText::isSpace : point -> characters.indexOf(point) >= 0;
    int start = 0;
    int end = text.length();
    while (left && start < end && taken.test(text.codePointAt(start))) {
      start += Character.charCount(text.codePointAt(start));
    }
    while (right && end > start && taken.test(text.codePointBefore(end))) {
      end -= Character.charCount(text.codePointBefore(end));
    }
    run.walk(
        (long) (text.length() - (end - start)) * (characters == null ? 1 : characters.length()));
    return run.made(text.substring(start, end));
  }

  private static Object split(Run run, String text, String name, Arguments arguments) {
    Bound bound = arguments.bind(name, "sep?", "maxsplit?");
    int most = bound.integer(1, -1);
    boolean fromRight = name.startsWith("r");
    return bound.given(0)
        ? Splitting.by(run, text, bound.text(0), most, fromRight)
        : Splitting.bySpace(run, text, most, fromRight);
  }

  private static Object partition(Run run, String text, String name, Arguments arguments) {
    String separator = arguments.bind(name, "sep").text(0);
    if (separator.isEmpty()) {
      throw new JinjaException("empty separator");
    }
    boolean last = name.startsWith("r");
    int at =
        last
            ? CodePoints.findLast(run, text, separator, text.length())
            : CodePoints.find(run, text, separator, 0);
    if (at < 0) {
      return last ? Tuple.of("", "", text) : Tuple.of(text, "", "");
    }
    String after = run.made(text.substring(at + separator.length()));
    return Tuple.of(run.made(text.substring(0, at)), separator, after);
  }

  static String join(Run run, String separator, List<Object> parts) {
    StringBuilder joined = new StringBuilder();
    for (int i = 0; i < parts.size(); i++) {
      if (!(parts.get(i) instanceof String part)) {
        throw new JinjaException(
            "sequence item %d: expected str instance, %s found"
                .formatted(i, Values.typeOf(parts.get(i))));
      }
      String next = i == 0 ? part : separator + part;
      run.string(next.length());
      if ((long) joined.length() + next.length() > run.outputLimit()) {
        run.string((long) joined.length() + next.length());
      }
      joined.append(next);
    }
    return joined.toString();
  }

  /** Replaces the first {@code count} places, all where it is negative. */
  static String replace(Run run, String text, String old, String by, int count) {
    StringBuilder replaced = new StringBuilder();
    int from = 0;
    for (int left = count; left != 0; left--) {
      // an empty text stands before each character and at the end
      int at = old.isEmpty() ? from : CodePoints.find(run, text, old, from);
      if (at < 0 || at > text.length()) {
        break;
      }
      run.step();
      replaced.append(text, from, at).append(by);
      if (replaced.length() > run.outputLimit()) {
        run.string(replaced.length());
      }
      if (!old.isEmpty()) {
        from = at + old.length();
      } else if (at == text.length()) {
        return run.made(replaced.toString());
      } else {
        from = at + Character.charCount(text.codePointAt(at));
        replaced.append(text, at, from);
      }
    }
    return run.made(replaced.append(text, from, text.length()).toString());
  }

  private static Object removePrefix(Run run, String text, Arguments arguments) {
    String prefix = arguments.bind("removeprefix", "prefix").text(0);
    return text.startsWith(prefix) ? run.made(text.substring(prefix.length())) : text;
  }

  private static Object removeSuffix(Run run, String text, Arguments arguments) {
    String suffix = arguments.bind("removesuffix", "suffix").text(0);
    return text.endsWith(suffix)
        ? run.made(text.substring(0, text.length() - suffix.length()))
        : text;
  }

  private static Object hasEnd(Run run, String text, String name, Arguments arguments) {
    Bound bound = arguments.bind(name, "affix", "start?", "end?");
    String part = part(run, text, bound);
    List<?> affixes = bound.get(0) instanceof Tuple tuple ? tuple : List.of(bound.text(0));
    boolean start = name.equals("startswith");
    for (Object affix : affixes) {
      if (!(affix instanceof String end)) {
        throw new JinjaException(
            "%s() expects strings but got %s".formatted(name, Values.typeOf(affix)));
      }
      if (start ? part.startsWith(end) : part.endsWith(end)) {
        return true;
      }
    }
    return false;
  }

  private static String part(Run run, String text, Bound bound) {
    return bound.has(1) || bound.has(2)
        ? (String)
            Slices.slice(run, text, bound.get(1, None.NONE), bound.get(2, None.NONE), None.NONE)
        : text;
  }

  private static Object search(Run run, String text, String name, Arguments arguments) {
    Bound bound = arguments.bind(name, "sub", "start?", "end?");
    String wanted = bound.text(0);
    String part = part(run, text, bound);
    if (name.equals("count")) {
      return count(run, part, wanted);
    }
    int unit =
        name.startsWith("r")
            ? CodePoints.findLast(run, part, wanted, part.length())
            : CodePoints.find(run, part, wanted, 0);
    if (unit < 0 && name.endsWith("index")) {
      throw new JinjaException("substring not found");
    }
    long length = CodePoints.length(text);
    long start = bound.integer(1, 0);
    long shift = Math.clamp(start < 0 ? start + length : start, 0, length);
    return unit < 0 ? -1L : shift + CodePoints.point(part, unit);
  }

  private static long count(Run run, String text, String wanted) {
    if (wanted.isEmpty()) {
      return CodePoints.length(text) + 1L;
    }
    long count = 0;
    for (int at = CodePoints.find(run, text, wanted, 0);
        at >= 0;
        at = CodePoints.find(run, text, wanted, at + wanted.length())) {
      count++;
    }
    return count;
  }

  static String pad(Run run, String text, int width, String fill, String side) {
    if (CodePoints.length(fill) != 1) {
      throw new JinjaException("the fill character must be exactly one character long");
    }
    int missing = width - CodePoints.length(text);
    if (missing <= 0) {
      return text;
    }
    run.string((long) missing * fill.length() + text.length());
    int left =
        switch (side) {
          case "ljust" -> 0;
          case "rjust" -> missing;
          default -> missing / 2 + (missing & width & 1);
        };
    return fill.repeat(left) + text + fill.repeat(missing - left);
  }

  private static String zeros(Run run, String text, int width) {
    boolean signed = text.startsWith("-") || text.startsWith("+");
    String digits = signed ? text.substring(1) : text;
    return (signed ? text.substring(0, 1) : "")
        + pad(run, digits, signed ? width - 1 : width, "0", "rjust");
  }
}
