package espalier.models;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Hugging Face's names for the parts of a stack or of a block. Their order is the order of the
 * reference's modules, in which adapters draw their first values.
 */
record Names(Map<Part, String> paths) {

  Names {
    paths = Collections.unmodifiableMap(new LinkedHashMap<>(paths));
  }

  /** Reads a table of lines of two words: a part and its path. */
  static Names of(String table) {
    var paths = new LinkedHashMap<Part, String>();
    table
        .lines()
        .map(line -> line.strip().split(" +", -1))
        .forEach(words -> paths.put(Part.valueOf(words[0]), words[1]));
    return new Names(paths);
  }

  Names without(Part... parts) {
    var left = new LinkedHashMap<>(paths);
    for (Part part : parts) {
      left.remove(part);
    }
    return new Names(left);
  }

  boolean has(Part part) {
    return paths.containsKey(part);
  }

  @Nullable String find(Part part) {
    return paths.get(part);
  }

  String get(Part part) {
    String path = paths.get(part);
    if (path == null) {
      throw new IllegalStateException("this family has no " + part);
    }
    return path;
  }

  void forEach(BiConsumer<Part, String> each) {
    paths.forEach(each);
  }
}
