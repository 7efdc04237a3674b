package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/**
 * A file's keys and values. The getters ask for a type; a value of another type, or a missing key
 * for which no other value is given, is a {@link CheckpointException} that names the key.
 */
public final class GgufMetadata {

  private final Path path;
  private final Map<String, Object> values;

  GgufMetadata(Path path, Map<String, Object> values) {
    this.path = path;
    this.values = values;
  }

  /**
   * All values by key, in file order: whole numbers as {@link Long} (as {@link
   * java.math.BigInteger} from 2⁶³ on), f32 as {@link Float}, f64 as {@link Double}, {@link
   * Boolean}, {@link String}, and arrays as {@link List} of these.
   */
  public Map<String, Object> values() {
    return values;
  }

  /** Whether the file has the key. */
  public boolean has(String key) {
    return values.containsKey(key);
  }

  /** A string that must be there. */
  public String string(String key) {
    return findString(key).orElseThrow(() -> missing(key));
  }

  /** A string, if it is there. */
  public Optional<String> findString(String key) {
    return Optional.ofNullable(values.get(key)).map(value -> text(key, value));
  }

  /** A whole number that must be there. */
  public long integer(String key) {
    return integer(key, present(key));
  }

  /** A whole number, or {@code absent} if there is none. */
  public long integer(String key, long absent) {
    Object value = values.get(key);
    return value == null ? absent : integer(key, value);
  }

  /** A number, whole or not, that must be there. An f32 is the shortest decimal that means it. */
  public double number(String key) {
    return number(key, present(key));
  }

  /** A number, whole or not, or {@code absent} if there is none. */
  public double number(String key, double absent) {
    Object value = values.get(key);
    return value == null ? absent : number(key, value);
  }

  /** True or false, or {@code absent} if neither is there. */
  public boolean flag(String key, boolean absent) {
    return switch (values.get(key)) {
      case null -> absent;
      case Boolean flag -> flag;
      case Object other -> throw wrong(key, other, "true or false");
    };
  }

  /** An array of strings that must be there. */
  public List<String> strings(String key) {
    return list(key, present(key), element -> text(key, element));
  }

  /** An array of whole numbers that must be there. */
  public List<Long> integers(String key) {
    return list(key, present(key), element -> integer(key, element));
  }

  /** An array of numbers, whole or not, that must be there. */
  public List<Double> numbers(String key) {
    return list(key, present(key), element -> number(key, element));
  }

  /**
   * A refusal that names the file and the key.
   *
   * @param found what was there, what was expected and how to mend it
   */
  CheckpointException refused(String key, String found) {
    return CheckpointException.in(path, key + " " + found);
  }

  private Object present(String key) {
    Object value = values.get(key);
    if (value == null) {
      throw missing(key);
    }
    return value;
  }

  private CheckpointException missing(String key) {
    return refused(key, "is missing, but the model can not be read without it; convert it again");
  }

  private CheckpointException wrong(String key, Object value, String expected) {
    return refused(
        key, "is %s but must be %s; convert the model again".formatted(shown(value), expected));
  }

  /** A value as a message can show it. */
  static String shown(Object value) {
    if (value instanceof List<?> list) {
      return "an array of " + list.size();
    }
    String text = value.toString();
    return text.length() > 60 ? text.substring(0, 60) + "..." : text;
  }

  private String text(String key, Object value) {
    if (value instanceof String text) {
      return text;
    }
    throw wrong(key, value, "a string");
  }

  private long integer(String key, Object value) {
    if (value instanceof Long number) {
      return number;
    }
    throw wrong(key, value, "a whole number below 2^63");
  }

  private double number(String key, Object value) {
    return switch (value) {
      // By way of its shortest decimal, so that 1e-5 stays what the model's author wrote and does
      // not become 9.999999747378752e-06.
      case Float number -> Double.parseDouble(Float.toString(number));
      case Number number -> number.doubleValue();
      default -> throw wrong(key, value, "a number");
    };
  }

  private <T> List<T> list(String key, Object value, Function<Object, T> element) {
    if (value instanceof List<?> list) {
      return list.stream().<T>map(element).toList();
    }
    throw wrong(key, value, "an array");
  }
}
