package espalier.text.jinja;

import java.util.LinkedHashMap;
import java.util.Map;

/** The one value that a template may change: how a loop hands something to what follows it. */
record Namespace(Map<String, Object> fields) {

  Namespace() {
    this(new LinkedHashMap<>());
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
