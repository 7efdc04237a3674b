package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * The settings of one architecture: the keys below its name. What is asked for is noted; a key that
 * nobody asked for could change the model's numbers, so {@link #refuseUnread} does not let it pass.
 */
final class Settings {

  private final GgufMetadata metadata;
  private final String architecture;
  private final Set<String> read = new TreeSet<>();

  Settings(GgufMetadata metadata, String architecture) {
    this.metadata = metadata;
    this.architecture = architecture;
  }

  long integer(String name) {
    return positive(name, uniform(name).orElseGet(() -> metadata.integer(key(name))));
  }

  /** A whole number from 0 on. */
  long integer(String name, long absent) {
    long value = uniform(name).orElseGet(() -> metadata.integer(key(name), absent));
    if (value < 0) {
      throw refused(name, "is %d but must be 0 or more".formatted(value));
    }
    return value;
  }

  double number(String name) {
    return metadata.number(key(name));
  }

  double number(String name, double absent) {
    return metadata.number(key(name), absent);
  }

  Optional<String> text(String name) {
    return metadata.findString(key(name));
  }

  boolean has(String name) {
    return metadata.has(architecture + "." + name);
  }

  /** Whether the key's value is an array. */
  boolean isList(String name) {
    return metadata.values().get(key(name)) instanceof List<?>;
  }

  /** An array of flags, one a layer. */
  List<Boolean> flags(String name) {
    List<?> list = (List<?>) metadata.values().getOrDefault(key(name), List.of());
    return list.stream()
        .map(
            element -> {
              if (element instanceof Boolean flag) {
                return flag;
              }
              throw refused(name, "holds %s but must be true or false".formatted(element));
            })
        .toList();
  }

  /** Notes keys that say nothing about the model's numbers. */
  void harmless(String... names) {
    for (String name : names) {
      key(name);
    }
  }

  /**
   * Notes a key whose only value that the model in Hugging Face's form can have is {@code value}.
   */
  void only(String name, long value) {
    double found = metadata.number(key(name), (double) value);
    if (found != (double) value) {
      throw refused(
          name,
          "is %s, which would change the model's numbers, but only %d is honoured"
              .formatted(plain(found), value));
    }
  }

  /** The same for a flag. */
  void only(String name, boolean value) {
    if (metadata.flag(key(name), value) != value) {
      throw refused(
          name,
          "is %s, which would change the model's numbers, but only %s is honoured"
              .formatted(!value, value));
    }
  }

  /** Refuses the file if a key of the architecture was never asked for. */
  void refuseUnread() {
    for (Map.Entry<String, Object> entry : metadata.values().entrySet()) {
      if (entry.getKey().startsWith(architecture + ".") && !read.contains(entry.getKey())) {
        throw metadata.refused(
            entry.getKey(),
            "is %s, but that setting is not known for %s and may change the model's numbers;"
                    .formatted(GgufMetadata.shown(entry.getValue()), architecture)
                + " use the model's original files");
      }
    }
  }

  CheckpointException refused(String name, String found) {
    return metadata.refused(architecture + "." + name, found + "; use the model's original files");
  }

  private String key(String name) {
    String key = architecture + "." + name;
    read.add(key);
    return key;
  }

  private long positive(String name, long value) {
    if (value < 1) {
      throw refused(name, "is %d but must be 1 or more".formatted(value));
    }
    return value;
  }

  /** The value of a key that may be one a layer, where all layers agree. */
  private Optional<Long> uniform(String name) {
    if (!isList(name)) {
      return Optional.empty();
    }
    List<Long> values = metadata.integers(key(name)).stream().distinct().toList();
    if (values.size() != 1) {
      throw refused(name, "differs from layer to layer, but one value for all is honoured");
    }
    return Optional.of(values.getFirst());
  }

  private static String plain(double number) {
    return number == Math.rint(number) ? Long.toString((long) number) : Double.toString(number);
  }
}
