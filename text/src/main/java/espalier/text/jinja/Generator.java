package espalier.text.jinja;

import java.util.Iterator;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What filters such as {@code map} and {@code selectattr} give: elements that can be gone through
 * once. As in Python it is always true, even where nothing is in it, and has no length and no
 * element by number; {@code list} makes a list of it.
 */
final class Generator {

  private final String type;
  private @Nullable Supplier<List<Object>> source;
  private List<Object> elements = List.of();
  private int taken;

  /**
   * Makes a generator.
   *
   * @param source makes the elements, when the first is asked for
   */
  Generator(Supplier<List<Object>> source) {
    this("generator", source);
  }

  /**
   * Makes a generator.
   *
   * @param type its name in Python
   */
  Generator(String type, Supplier<List<Object>> source) {
    this.type = type;
    this.source = source;
  }

  String type() {
    return type;
  }

  /** Takes the next element, or gives null where all were taken. */
  @Nullable Object next() {
    List<Object> all = all();
    return taken < all.size() ? all.get(taken++) : null;
  }

  /** Goes through the elements that are left, and takes each as it is reached. */
  Iterator<Object> iterator() {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return taken < all().size();
      }

      @Override
      public Object next() {
        return all().get(taken++);
      }
    };
  }

  /** Takes all elements that are left. */
  List<Object> rest() {
    List<Object> all = all();
    List<Object> rest = all.subList(taken, all.size());
    taken = all.size();
    return rest;
  }

  private List<Object> all() {
    Supplier<List<Object>> first = source;
    if (first != null) {
      source = null; // before the call: a generator that fails is at its end
      elements = first.get();
    }
    return elements;
  }
}
