package espalier.text.jinja;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The variable {@code loop} inside of a loop. */
final class Loop implements Callable {

  private final Iterator<Object> items;
  private final Deque<Object> ahead = new ArrayDeque<>(); // of the current one, asked for already
  private final int depth;
  private final @Nullable Function<Object, String> recursion;
  private int index = -1;
  private Object previous = new Undefined("there is no previous item");
  private @Nullable Object current;
  private @Nullable Object lastSeen;

  /**
   * Starts before the first item.
   *
   * @param items taken one by one, as what an iteration does may decide which come next
   * @param recursion renders the loop over other items; null where the loop is not recursive
   */
  Loop(Iterator<Object> items, int depth, @Nullable Function<Object, String> recursion) {
    this.items = items;
    this.depth = depth;
    this.recursion = recursion;
  }

  boolean hasNext() {
    return !ahead.isEmpty() || items.hasNext();
  }

  /** Goes on to the next item. */
  Object next() {
    if (current != null) {
      previous = current;
    }
    Object next = ahead.isEmpty() ? items.next() : ahead.remove();
    current = next;
    index++;
    return next;
  }

  /** How many items there are; those to come are asked for. */
  int length() {
    items.forEachRemaining(ahead::add);
    return index + 1 + ahead.size();
  }

  private Object nextItem() {
    if (!hasNext()) {
      return new Undefined("there is no next item");
    }
    if (ahead.isEmpty()) {
      ahead.add(items.next());
    }
    return ahead.element();
  }

  @Override
  public String toString() {
    return "<LoopContext %d/%d>".formatted(index + 1, length());
  }

  /** A field of the loop, or null where it has none of the name. */
  @Nullable Object field(String name) {
    return switch (name) {
      case "index" -> (long) index + 1;
      case "index0" -> (long) index;
      case "first" -> index == 0;
      case "last" -> nextItem() instanceof Undefined && !hasNext();
      case "length" -> (long) length();
      case "revindex" -> (long) length() - index;
      case "revindex0" -> (long) length() - index - 1;
      case "depth" -> (long) depth + 1;
      case "depth0" -> (long) depth;
      case "previtem" -> previous;
      case "nextitem" -> nextItem();
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
