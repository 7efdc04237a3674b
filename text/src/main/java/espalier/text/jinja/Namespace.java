package espalier.text.jinja;

import java.util.LinkedHashMap;
import java.util.Map;

/** The one value that a template may change: how a loop hands something to what follows it. */
record Namespace(Map<String, Object> fields) {

  Namespace() {
    this(new LinkedHashMap<>());
  }

  /** Sets a field. Python's own have names that start with an underscore, so none may be set. */
  void put(String name, Object value) {
    if (name.startsWith("_")) {
      throw new JinjaException(
          "a namespace cannot hold %s, which starts with an underscore; name it otherwise"
              .formatted(name));
    }
    fields.put(name, value);
  }

  // by identity: a namespace may hold itself
  @Override
  public boolean equals(Object other) {
    return this == other;
  }

  @Override
  public int hashCode() {
    return System.identityHashCode(this);
  }

  @Override
  public String toString() {
    return "Namespace" + fields.keySet();
  }
}
