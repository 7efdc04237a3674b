package espalier.text.jinja;

import java.util.HashMap;
import java.util.Map;

/** The filters that stand after a bar, by name. */
final class Filters {

  /** Makes a new value of {@code value}. */
  @FunctionalInterface
  interface Function {
    Object apply(Run run, Object value, Arguments arguments);
  }

  private static final Map<String, Function> ALL = new HashMap<>();

  static {
    TextFilters.define(ALL);
    SequenceFilters.define(ALL);
    ValueFilters.define(ALL);
  }

  private Filters() {}

  static boolean isKnown(String name) {
    return ALL.containsKey(name);
  }

  static Object apply(Run run, String name, Object value, Arguments arguments) {
    Function filter = ALL.get(name);
    if (filter == null) {
      throw new JinjaException("no filter is named '%s'".formatted(name));
    }
    run.step();
    if (value instanceof String text) {
      run.walk(text.length());
    }
    return filter.apply(run, value, arguments);
  }
}
