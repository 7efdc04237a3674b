package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Filters of texts; other values are taken as they print. */
final class TextFilters {

  private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}_\\p{M}]+");
  private static final Pattern WORD_START = Pattern.compile("[-\\s({\\[<]+");

  /** A filter of a text with its arguments. */
  @FunctionalInterface
  private interface OfText {
    Object apply(Run run, String text, Arguments arguments);
  }

  private TextFilters() {}

  static void define(Map<String, Filters.Function> filters) {
    put(filters, "trim", TextFilters::trim);
    put(
        filters,
        "upper",
        (run, text, a) -> run.alike(text, plain(run, text.toUpperCase(Locale.ROOT), "upper", a)));
    put(
        filters,
        "lower",
        (run, text, a) -> run.alike(text, plain(run, text.toLowerCase(Locale.ROOT), "lower", a)));
    put(
        filters,
        "capitalize",
        (run, text, a) -> plain(run, Letters.capitalize(text), "capitalize", a));
    put(filters, "title", (run, text, a) -> plain(run, title(text), "title", a));
    put(filters, "escape", (run, text, a) -> escape(run, text, "escape", a));
    put(filters, "e", (run, text, a) -> escape(run, text, "e", a));
    put(filters, "forceescape", (run, text, a) -> escape(run, text, "forceescape", a));
    put(filters, "striptags", TextFilters::withoutTags);
    put(filters, "replace", TextFilters::replace);
    filters.put("indent", TextFilters::indent);
    filters.put("truncate", TextFilters::truncate);
    put(filters, "center", TextFilters::center);
    put(filters, "wordcount", (_, text, a) -> words(text, a));
    put(filters, "format", TextFilters::format);
    filters.put("urlencode", TextFilters::urlEncode);
  }

  private static void put(Map<String, Filters.Function> filters, String name, OfText filter) {
    filters.put(
        name, (run, value, arguments) -> filter.apply(run, PythonText.str(run, value), arguments));
  }

  private static String plain(Run run, String made, String name, Arguments arguments) {
    arguments.bind(name);
    return run.made(made);
  }

  private static Object trim(Run run, String text, Arguments arguments) {
    Bound bound = arguments.bind("trim", "chars?");
    String bare = StringMethods.strip(run, text, bound.given(0) ? bound.text(0) : null, true, true);
    return run.alike(text, bare);
  }

  /** Unlike the method of this name, a word goes on after an apostrophe. */
  private static String title(String text) {
    StringBuilder title = new StringBuilder();
    Matcher start = WORD_START.matcher(text);
    int last = 0;
    while (start.find()) {
      title.append(Letters.capitalize(text.substring(last, start.start()))).append(start.group());
      last = start.end();
    }
    return title.append(Letters.capitalize(text.substring(last))).toString();
  }

  private static Object escape(Run run, String text, String name, Arguments arguments) {
    arguments.bind(name);
    return run.isSafe(text) && !name.equals("forceescape") ? text : run.safe(escaped(run, text));
  }

  /** A text as HTML. */
  static String escaped(Run run, String text) {
    run.string(6L * text.length());
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("'", "&#39;")
        .replace("\"", "&#34;");
  }

  private static Object withoutTags(Run run, String text, Arguments arguments) {
    arguments.bind("striptags");
    String bare = without(without(text, "<!--", "-->"), "<", ">");
    return run.made(String.join(" ", words(run, bare)));
  }

  /** A text without what stands between two marks; no pattern, as those take quadratic time. */
  private static String without(String text, String open, String close) {
    StringBuilder bare = new StringBuilder();
    int from = 0;
    for (int at = text.indexOf(open); at >= 0; at = text.indexOf(open, from)) {
      int end = text.indexOf(close, at + open.length());
      if (end < 0) {
        break;
      }
      bare.append(text, from, at);
      from = end + close.length();
    }
    return bare.append(text, from, text.length()).toString();
  }

  private static List<String> words(Run run, String text) {
    List<String> words = new ArrayList<>();
    Splitting.bySpace(run, text, -1, false).forEach(word -> words.add((String) word));
    return words;
  }

  private static Object replace(Run run, String text, Arguments arguments) {
    Bound bound = arguments.bind("replace", "old", "new", "count?");
    return StringMethods.replace(
        run,
        text,
        PythonText.str(run, bound.get(0)),
        PythonText.str(run, bound.get(1)),
        bound.integer(2, -1));
  }

  private static Object indent(Run run, Object value, Arguments arguments) {
    if (!(value instanceof String text)) {
      throw noText("indent", value);
    }
    Bound bound = arguments.bind("indent", "width?", "first?", "blank?");
    String margin;
    if (bound.get(0, 4L) instanceof String given) {
      margin = given;
    } else {
      int width = Math.max(0, bound.integer(0, 4));
      run.string(width);
      margin = " ".repeat(width);
    }
    List<Object> lines = Splitting.lines(run, text + "\n", false);
    StringBuilder indented = new StringBuilder(bound.truth(1) ? margin : "");
    for (int i = 0; i < lines.size(); i++) {
      String line = (String) lines.get(i);
      if (i > 0) {
        indented.append('\n');
      }
      if (i > 0 && (bound.truth(2) || !line.isEmpty())) {
        run.string((long) indented.length() + margin.length());
        indented.append(margin);
      }
      indented.append(line);
    }
    return run.alike(text, run.made(indented.toString()));
  }

  private static Object truncate(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("truncate", "length?", "killwords?", "end?", "leeway?");
    int length = bound.integer(0, 255);
    String end = bound.text(2, "...");
    int leeway = bound.integer(3, 5);
    int room = length - CodePoints.length(end);
    if (room < 0 || leeway < 0) {
      throw new JinjaException(
          "truncate() expects a length of at least its end's and no negative leeway");
    }
    if (Values.length(value) <= (long) length + leeway) {
      return value;
    }
    if (!(value instanceof String text)) {
      throw noText("truncate", value);
    }
    String cut = text.substring(0, CodePoints.unit(text, room));
    int space = bound.truth(1) ? -1 : cut.lastIndexOf(' ');
    return run.made((space < 0 ? cut : cut.substring(0, space)) + end);
  }

  private static JinjaException noText(String filter, Object value) {
    return value instanceof Undefined undefined
        ? undefined.error()
        : new JinjaException(
            "%s() expects a string but got %s".formatted(filter, Values.typeOf(value)));
  }

  private static Object center(Run run, String text, Arguments arguments) {
    int width = arguments.bind("center", "width?").integer(0, 80);
    return StringMethods.pad(run, text, width, " ", "center");
  }

  private static Object words(String text, Arguments arguments) {
    arguments.bind("wordcount");
    return WORD.matcher(text).results().count();
  }

  private static Object format(Run run, String text, Arguments arguments) {
    if (!arguments.named().isEmpty() && !arguments.positional().isEmpty()) {
      throw new JinjaException("format() takes values by place or by name, not both");
    }
    return PercentFormat.format(
        run,
        text,
        arguments.named().isEmpty() ? new Tuple(arguments.positional()) : arguments.named());
  }

  private static Object urlEncode(Run run, Object value, Arguments arguments) {
    arguments.bind("urlencode");
    if (value instanceof String || !(value instanceof List || value instanceof Map)) {
      return encoded(run, value, false);
    }
    List<Object> pairs =
        value instanceof Map<?, ?> dict ? DictMethods.items(run, dict) : Values.iterate(run, value);
    List<Object> parts = new ArrayList<>();
    for (Object pair : pairs) {
      List<Object> both = Values.iterate(run, pair);
      if (both.size() != 2) {
        throw new JinjaException("urlencode() expects a text, a mapping or pairs");
      }
      parts.add(encoded(run, both.get(0), true) + "=" + encoded(run, both.get(1), true));
    }
    return StringMethods.join(run, "&", parts);
  }

  private static String encoded(Run run, Object value, boolean inQuery) {
    String text = PythonText.str(run, value);
    run.string(12L * text.length()); // a character may become four escaped bytes
    String encoded =
        URLEncoder.encode(text, StandardCharsets.UTF_8).replace("*", "%2A").replace("%7E", "~");
    return inQuery ? encoded : encoded.replace("+", "%20").replace("%2F", "/");
  }
}
