package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.time.ZonedDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The functions that every template can call. */
final class Globals {

  private static final int LONGEST_RANGE = 100_000; // as the reference's sandbox has it

  private Globals() {}

  static void define(Variables variables) {
    define(variables, "raise_exception", Globals::raise);
    define(variables, "strftime_now", Globals::now);
    define(variables, "range", Globals::range);
    define(variables, "namespace", Globals::namespace);
    define(variables, "dict", new DictType());
    define(variables, "cycler", (_, arguments) -> new Cycler(arguments.positional()));
    define(variables, "joiner", Globals::joiner);
  }

  private static void define(Variables variables, String name, Callable function) {
    variables.set(name, function);
  }

  private static Object raise(Run run, Arguments arguments) {
    Object message = arguments.bind("raise_exception", "message").get(0);
    throw new JinjaException(PythonText.str(run, message));
  }

  private static Object now(Run run, Arguments arguments) {
    String format = arguments.bind("strftime_now", "format").text(0);
    return Strftime.format(run, format, ZonedDateTime.now(run.clock()));
  }

  private static Object range(Run run, Arguments arguments) {
    Bound bound = arguments.bind("range", "start", "stop?", "step?");
    int start = bound.has(1) ? bound.integer(0) : 0;
    int stop = bound.has(1) ? bound.integer(1) : bound.integer(0);
    int step = bound.integer(2, 1);
    if (step == 0) {
      throw new JinjaException("range() arg 3 must not be zero");
    }
    long count = Range.size(start, stop, step);
    if (count > LONGEST_RANGE) {
      throw new JinjaException("range() is longer than %d".formatted(LONGEST_RANGE));
    }
    run.list(count);
    return new Range(start, stop, step);
  }

  private static Object namespace(Run run, Arguments arguments) {
    Namespace namespace = new Namespace();
    entries(run, "namespace", arguments)
        .forEach((name, value) -> namespace.put(PythonText.str(run, name), value));
    return namespace;
  }

  /** A mapping or pairs, then named values. */
  static Map<Object, Object> entries(Run run, String function, Arguments arguments) {
    Map<Object, Object> entries = new LinkedHashMap<>();
    if (arguments.positional().size() > 1) {
      throw new JinjaException("%s() takes one value and names".formatted(function));
    }
    for (Object given : arguments.positional()) {
      if (given instanceof Map<?, ?> map) {
        run.list(map.size());
        entries.putAll(map);
        continue;
      }
      for (Object pair : Values.iterate(run, given)) {
        List<Object> both = Values.iterate(run, pair);
        if (both.size() != 2) {
          throw new JinjaException("%s() expects a mapping or pairs".formatted(function));
        }
        run.list(2);
        entries.put(Values.key(both.get(0)), both.get(1));
      }
    }
    run.list(arguments.named().size());
    entries.putAll(arguments.named());
    return entries;
  }

  /** A function that gives nothing at first, and the separator ever after. */
  private static Object joiner(Run run, Arguments arguments) {
    String separator = arguments.bind("joiner", "sep?").text(0, ", ");
    Namespace used = new Namespace();
    return (Callable) (_, _) -> used.fields().put("used", true) == null ? "" : separator;
  }
}
