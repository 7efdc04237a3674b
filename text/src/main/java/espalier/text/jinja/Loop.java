package espalier.text.jinja;

import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The variable {@code loop} inside of a loop. */
final class Loop implements Callable {

  private final List<Object> items;
  private final int depth;
  private final @Nullable Function<Object, String> recursion;
  private int index = -1;
  private @Nullable Object lastSeen;

  /**
   * Starts before the first item.
   *
   * @param recursion renders the loop over other items; null where the loop is not recursive
   */
  Loop(List<Object> items, int depth, @Nullable Function<Object, String> recursion) {
    this.items = items;
    this.depth = depth;
    this.recursion = recursion;
  }

  void next() {
    index++;
  }

  /** A field of the loop, or null where it has none of the name. */
  @Nullable Object field(String name) {
    return switch (name) {
      case "index" -> (long) index + 1;
      case "index0" -> (long) index;
      case "first" -> index == 0;
      case "last" -> index == items.size() - 1;
      case "length" -> (long) items.size();
      case "revindex" -> (long) items.size() - index;
      case "revindex0" -> (long) items.size() - index - 1;
      case "depth" -> (long) depth + 1;
      case "depth0" -> (long) depth;
      case "previtem" ->
          index > 0 ? items.get(index - 1) : new Undefined("there is no previous item");
      case "nextitem" ->
          index + 1 < items.size() ? items.get(index + 1) : new Undefined("there is no next item");
      case "cycle" -> (Callable) (_, arguments) -> cycle(arguments);
      case "changed" -> (Callable) this::changed;
      default -> null;
    };
  }

  private Object cycle(Arguments arguments) {
    List<Object> values = arguments.positional();
    if (values.isEmpty()) {
      throw new JinjaException("loop.cycle() expects at least one value");
    }
    return values.get(index % values.size());
  }

  private Object changed(Run run, Arguments arguments) {
    Tuple now = new Tuple(arguments.positional());
    boolean changed = lastSeen == null || !Values.equal(run, lastSeen, now);
    lastSeen = now;
    return changed;
  }

  /** Renders the loop over other items: {@code loop(item.children)}. */
  @Override
  public Object call(Run run, Arguments arguments) {
    Object items = arguments.bind("loop", "iterable").get(0);
    if (recursion == null) {
      throw new JinjaException("the loop is called but not marked as recursive");
    }
    return recursion.apply(items);
  }
}
