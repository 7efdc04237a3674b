package espalier.text.jinja;

import espalier.text.jinja.Arguments.Bound;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.UnaryOperator;

/** Filters of lists. */
final class SequenceFilters {

  private static final List<String> GROUP = List.of("grouper", "list");

  private SequenceFilters() {}

  static void define(Map<String, Filters.Function> filters) {
    filters.put("length", (_, value, a) -> length(value, a));
    filters.put("count", (_, value, a) -> length(value, a));
    filters.put("list", (run, value, a) -> list(run, value, "list", a));
    filters.put("first", SequenceFilters::first);
    filters.put("last", SequenceFilters::last);
    filters.put("reverse", SequenceFilters::reverse);
    filters.put("join", SequenceFilters::join);
    lazy(filters, "map", SequenceFilters::map);
    lazy(filters, "select", (run, value, a) -> select(run, value, a, true));
    lazy(filters, "reject", (run, value, a) -> select(run, value, a, false));
    lazy(filters, "selectattr", (run, value, a) -> selectAttribute(run, value, a, true));
    lazy(filters, "rejectattr", (run, value, a) -> selectAttribute(run, value, a, false));
    filters.put("sort", SequenceFilters::sort);
    lazy(filters, "unique", SequenceFilters::unique);
    filters.put("min", (run, value, a) -> extreme(run, value, "min", a));
    filters.put("max", (run, value, a) -> extreme(run, value, "max", a));
    filters.put("sum", SequenceFilters::sum);
    filters.put("groupby", SequenceFilters::groups);
    lazy(filters, "batch", SequenceFilters::batches);
    lazy(filters, "slice", SequenceFilters::slices);
  }

  /** Makes the elements of a generator. */
  @FunctionalInterface
  private interface Elements {
    List<Object> of(Run run, Object value, Arguments arguments);
  }

  private static void lazy(Map<String, Filters.Function> filters, String name, Elements elements) {
    filters.put(name, (run, value, a) -> new Generator(() -> elements.of(run, value, a)));
  }

  private static Object length(Object value, Arguments arguments) {
    arguments.bind("length");
    return Values.length(value);
  }

  private static List<Object> list(Run run, Object value, String name, Arguments arguments) {
    arguments.bind(name);
    return copy(run, value);
  }

  private static List<Object> copy(Run run, Object value) {
    List<Object> elements = Values.iterate(run, value);
    run.list(elements.size());
    return new ArrayList<>(elements);
  }

  private static Object first(Run run, Object value, Arguments arguments) {
    arguments.bind("first");
    if (value instanceof Generator generator) { // the others stay in it
      Object next = generator.next();
      return next == null ? new Undefined("no first item, sequence was empty") : next;
    }
    List<Object> elements = Values.iterate(run, value);
    return elements.isEmpty()
        ? new Undefined("no first item, sequence was empty")
        : elements.get(0);
  }

  private static Object last(Run run, Object value, Arguments arguments) {
    arguments.bind("last");
    if (value instanceof Generator generator) {
      throw new JinjaException("'%s' object is not reversible".formatted(generator.type()));
    }
    List<Object> elements = Values.iterate(run, value);
    return elements.isEmpty()
        ? new Undefined("no last item, sequence was empty")
        : elements.get(elements.size() - 1);
  }

  private static Object reverse(Run run, Object value, Arguments arguments) {
    arguments.bind("reverse");
    if (value instanceof String text) {
      return Slices.slice(run, text, null, null, -1L);
    }
    List<Object> elements = copy(run, value);
    Collections.reverse(elements);
    return switch (value) {
      case Generator _ -> elements;
      case Range _ -> new Generator("range_iterator", () -> elements);
      case Tuple _ -> new Generator("reversed", () -> elements);
      case List<?> _ -> new Generator("list_reverseiterator", () -> elements);
      default -> new Generator("dict_reversekeyiterator", () -> elements);
    };
  }

  private static Object join(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("join", "d?", "attribute?");
    List<Object> texts = new ArrayList<>();
    for (Object element : Values.iterate(run, value)) {
      run.step();
      Object part = bound.given(1) ? Lookup.path(run, element, bound.get(1)) : element;
      texts.add(PythonText.str(run, part));
    }
    return StringMethods.join(run, PythonText.str(run, bound.get(0, "")), texts);
  }

  /** The elements of a value; none of one that is false, be it None: the reference looks first. */
  private static List<Object> anyOf(Run run, Object value) {
    return Values.truth(value) ? Values.iterate(run, value) : List.of();
  }

  /** {@code map('filter', arguments...)} or {@code map(attribute='path', default=value)}. */
  private static List<Object> map(Run run, Object value, Arguments arguments) {
    List<Object> elements = anyOf(run, value);
    if (elements.isEmpty()) {
      return elements;
    }
    run.list(elements.size());
    List<Object> mapped = new ArrayList<>(elements.size());
    if (arguments.positional().isEmpty()) {
      Bound bound =
          new Arguments(List.of(), arguments.named()).bind("map", "attribute", "default?");
      for (Object element : elements) {
        run.step();
        mapped.add(Lookup.path(run, element, bound.get(0), bound.given(1) ? bound.get(1) : null));
      }
      return mapped;
    }
    String filter = PythonText.str(run, arguments.positional().get(0));
    for (Object element : elements) {
      mapped.add(Filters.apply(run, filter, element, arguments.from(1)));
    }
    return mapped;
  }

  private static List<Object> select(Run run, Object value, Arguments arguments, boolean wanted) {
    List<Object> selected = new ArrayList<>();
    for (Object element : anyOf(run, value)) {
      if (holds(run, element, arguments) == wanted) {
        run.list(1);
        selected.add(element);
      }
    }
    return selected;
  }

  private static List<Object> selectAttribute(
      Run run, Object value, Arguments arguments, boolean wanted) {
    List<Object> elements = anyOf(run, value);
    if (elements.isEmpty()) {
      return elements;
    }
    if (arguments.positional().isEmpty()) {
      throw new JinjaException("selectattr() and rejectattr() miss the name of an attribute");
    }
    Object path = arguments.positional().get(0);
    List<Object> selected = new ArrayList<>();
    for (Object element : elements) {
      if (holds(run, Lookup.path(run, element, path), arguments.from(1)) == wanted) {
        run.list(1);
        selected.add(element);
      }
    }
    return selected;
  }

  /** Whether the test that the arguments name holds; without one, whether the value is true. */
  private static boolean holds(Run run, Object value, Arguments arguments) {
    run.step();
    if (arguments.positional().isEmpty()) {
      return Values.truth(value);
    }
    String test = PythonText.str(run, arguments.positional().get(0));
    return Tests.test(run, test, value, arguments.from(1));
  }

  private static Object sort(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("sort", "reverse?", "case_sensitive?", "attribute?");
    List<Object> sorted = copy(run, value);
    boolean sensitive = bound.truth(1);
    sort(run, sorted, element -> sortKey(run, element, bound, sensitive), bound.truth(0));
    return sorted;
  }

  /**
   * The element, one field of it, or several that are named with commas between; always in a tuple,
   * whose order does not compare what is equal. So None and None can be sorted.
   */
  private static Object sortKey(Run run, Object element, Bound bound, boolean sensitive) {
    if (!bound.given(2)) {
      return Tuple.of(folded(run, element, sensitive));
    }
    if (bound.get(2) instanceof String paths && paths.indexOf(',') >= 0) {
      List<Object> keys = new ArrayList<>();
      for (String path : paths.split(",", -1)) {
        keys.add(folded(run, Lookup.path(run, element, path), sensitive));
      }
      return new Tuple(keys);
    }
    return Tuple.of(folded(run, Lookup.path(run, element, bound.get(2)), sensitive));
  }

  /** A text without regard to case, unless {@code sensitive}. */
  static Object folded(Run run, Object value, boolean sensitive) {
    return !sensitive && value instanceof String text
        ? run.made(text.toLowerCase(Locale.ROOT))
        : value;
  }

  static void sort(Run run, List<Object> elements, UnaryOperator<Object> key, boolean reverse) {
    record Keyed(Object key, Object element) {}
    List<Keyed> keyed = new ArrayList<>(elements.size());
    for (Object element : elements) {
      run.step();
      keyed.add(new Keyed(key.apply(element), element));
    }
    // equal elements keep their order, also when reversed
    keyed.sort(
        (a, b) ->
            reverse
                ? ordered(Operators.compare(run, "<", b.key(), a.key()))
                : ordered(Operators.compare(run, "<", a.key(), b.key())));
    elements.clear();
    keyed.forEach(each -> elements.add(each.element()));
  }

  /** Java's sort refuses an order that contradicts itself, as NaN makes one; here it is last. */
  private static int ordered(int order) {
    if (order < -1 || order > 1) {
      throw new JinjaException("nan cannot be sorted");
    }
    return order;
  }

  private static List<Object> unique(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("unique", "case_sensitive?", "attribute?");
    List<Object> keys = new ArrayList<>();
    List<Object> unique = new ArrayList<>();
    for (Object element : Values.iterate(run, value)) {
      Object field = bound.given(1) ? Lookup.path(run, element, bound.get(1)) : element;
      Object key = Values.key(folded(run, field, bound.truth(0)));
      run.step();
      run.walk(8L * keys.size());
      if (keys.stream().noneMatch(seen -> Values.equal(run, seen, key))) {
        run.list(2);
        keys.add(key);
        unique.add(element);
      }
    }
    return unique;
  }

  private static Object extreme(Run run, Object value, String name, Arguments arguments) {
    Bound bound = arguments.bind(name, "case_sensitive?", "attribute?");
    Object best = new Undefined("no aggregated item, sequence was empty");
    Object bestKey = None.NONE;
    boolean first = true;
    for (Object element : Values.iterate(run, value)) {
      Object field = bound.given(1) ? Lookup.path(run, element, bound.get(1)) : element;
      Object key = folded(run, field, bound.truth(0));
      if (first || Operators.holds(run, name.equals("min") ? "<" : ">", key, bestKey)) {
        best = element;
        bestKey = key;
        first = false;
      }
    }
    return best;
  }

  private static Object sum(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("sum", "attribute?", "start?");
    Object sum = bound.get(1, 0L);
    if (sum instanceof String) {
      throw new JinjaException("sum() does not join strings; use join");
    }
    for (Object element : Values.iterate(run, value)) {
      run.step();
      Object field = bound.given(0) ? Lookup.path(run, element, bound.get(0)) : element;
      sum = Operators.apply(run, "+", sum, field);
    }
    return sum;
  }

  private static Object groups(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("groupby", "attribute", "default?", "case_sensitive?");
    List<Object> sorted = copy(run, value);
    UnaryOperator<Object> field =
        element -> Lookup.path(run, element, bound.get(0), bound.given(1) ? bound.get(1) : null);
    UnaryOperator<Object> key = element -> folded(run, field.apply(element), bound.truth(2));
    sort(run, sorted, key, false);
    List<Object> groups = new ArrayList<>();
    List<Object> group = new ArrayList<>();
    for (Object element : sorted) {
      if (!group.isEmpty() && !Values.equal(run, key.apply(group.get(0)), key.apply(element))) {
        groups.add(Tuple.named(GROUP, field.apply(group.get(0)), group));
        group = new ArrayList<>();
      }
      run.list(4);
      group.add(element);
    }
    if (!group.isEmpty()) {
      groups.add(Tuple.named(GROUP, field.apply(group.get(0)), group));
    }
    return groups;
  }

  private static List<Object> batches(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("batch", "linecount", "fill_with?");
    int size = bound.integer(0);
    if (size < 1) {
      throw new JinjaException("batch() expects a size of 1 or more but got %d".formatted(size));
    }
    List<Object> elements = copy(run, value);
    List<Object> batches = new ArrayList<>();
    for (int start = 0; start < elements.size(); start += size) {
      run.list(1);
      int end = (int) Math.min((long) start + size, elements.size());
      List<Object> batch = new ArrayList<>(elements.subList(start, end));
      if (bound.given(1) && batch.size() < size) {
        run.list(size);
        batch.addAll(Collections.nCopies(size - batch.size(), bound.get(1)));
      }
      batches.add(batch);
      if (end == elements.size()) {
        break; // start + size may pass the largest int
      }
    }
    return batches;
  }

  private static List<Object> slices(Run run, Object value, Arguments arguments) {
    Bound bound = arguments.bind("slice", "slices", "fill_with?");
    int count = bound.integer(0);
    if (count < 1) {
      throw new JinjaException("slice() expects 1 slice or more but got %d".formatted(count));
    }
    List<Object> elements = copy(run, value);
    run.list(2L * count);
    int least = elements.size() / count;
    int longer = elements.size() % count;
    List<Object> slices = new ArrayList<>();
    int start = 0;
    for (int i = 0; i < count; i++) {
      int end = start + least + (i < longer ? 1 : 0);
      List<Object> slice = new ArrayList<>(elements.subList(start, end));
      if (bound.given(1) && i >= longer) {
        slice.add(bound.get(1));
      }
      slices.add(slice);
      start = end;
    }
    return slices;
  }
}
