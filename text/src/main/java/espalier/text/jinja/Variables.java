package espalier.text.jinja;

import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The variables of a block; those of the blocks around it can be read but not set. */
final class Variables {

  private final Map<String, Object> own = new HashMap<>();
  private final @Nullable Variables outer;

  Variables(@Nullable Variables outer) {
    this.outer = outer;
  }

  Object get(String name) {
    for (Variables scope = this; scope != null; scope = scope.outer) {
      Object value = scope.own.get(name);
      if (value != null) {
        return value;
      }
    }
    return new Undefined("'%s' is undefined".formatted(name));
  }

  void set(String name, Object value) {
    own.put(name, value);
  }
}
