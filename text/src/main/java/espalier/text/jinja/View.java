package espalier.text.jinja;

import java.util.AbstractCollection;
import java.util.Iterator;
import java.util.List;

/**
 * What {@code keys()}, {@code values()} and {@code items()} of a dict give: it has a length and can
 * be gone through, but has no element by number and is no JSON.
 */
final class View extends AbstractCollection<Object> {

  private final String type;
  private final List<Object> elements;

  /**
   * Makes a view.
   *
   * @param type its name in Python, such as {@code dict_keys}
   */
  View(String type, List<Object> elements) {
    this.type = type;
    this.elements = elements;
  }

  String type() {
    return type;
  }

  List<Object> elements() {
    return elements;
  }

  @Override
  public Iterator<Object> iterator() {
    return elements.iterator();
  }

  @Override
  public int size() {
    return elements.size();
  }
}
