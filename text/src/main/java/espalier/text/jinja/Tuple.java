package espalier.text.jinja;

import java.util.AbstractList;
import java.util.List;
import java.util.RandomAccess;
import org.jspecify.annotations.Nullable;

/** A list that prints with round brackets and equals only its kind, as in Python. */
final class Tuple extends AbstractList<Object> implements RandomAccess {

  private final List<Object> elements;
  private final List<String> names; // of the elements; empty where they have none

  Tuple(List<Object> elements) {
    this(List.of(), elements);
  }

  private Tuple(List<String> names, List<Object> elements) {
    this.names = names;
    this.elements = elements;
  }

  static Tuple of(Object... elements) {
    return new Tuple(List.of(elements));
  }

  /** A tuple whose elements can also be read by name. */
  static Tuple named(List<String> names, Object... elements) {
    return new Tuple(names, List.of(elements));
  }

  /** The element of a name, or null where there is none. */
  @Nullable Object element(String name) {
    int place = names.indexOf(name);
    return place < 0 ? null : elements.get(place);
  }

  @Override
  public Object get(int index) {
    return elements.get(index);
  }

  @Override
  public int size() {
    return elements.size();
  }
}
