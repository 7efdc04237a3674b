package espalier.models;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The fields of a {@code config.json}, read by type. A field that is null counts as absent. Every
 * refusal is an {@link IllegalArgumentException} that names the field.
 */
final class ConfigFields {

  /** Larger than any width or vocabulary, and small enough for products of two to fit a long. */
  static final int LARGEST = 1 << 24;

  private final String owner;
  private final String path;
  private final Map<?, ?> raw;
  private final Set<String> read = new LinkedHashSet<>();

  ConfigFields(String owner, Map<?, ?> raw) {
    this(owner, "", raw);
  }

  private ConfigFields(String owner, String path, Map<?, ?> raw) {
    this.owner = owner;
    this.path = path;
    this.raw = raw;
  }

  /** The family that the fields are read for. */
  String owner() {
    return owner;
  }

  /** The value under the first of these names that is there and not null. */
  @Nullable Object find(String... names) {
    read.addAll(Arrays.asList(names));
    for (String name : names) {
      Object value = raw.get(name);
      if (value != null) {
        return value;
      }
    }
    return null;
  }

  boolean has(String name) {
    return find(name) != null;
  }

  /** Whether the file has the field, be it null. */
  boolean present(String name) {
    return raw.containsKey(name);
  }

  /** Whole numbers of at least 0; absent is empty. */
  List<Integer> wholes(String name) {
    return tokens(name);
  }

  /** A whole number from 1 to {@link #LARGEST}. */
  int size(String name, int fallback) {
    return whole(name, find(name), fallback, 1, LARGEST);
  }

  /** As {@link #size} for a field of which an older name is about as well. */
  int size(String name, String other, int fallback) {
    return whole(raw.get(name) == null ? other : name, find(name, other), fallback, 1, LARGEST);
  }

  int whole(String name, int fallback, int smallest, int largest) {
    return whole(name, find(name), fallback, smallest, largest);
  }

  private int whole(String name, @Nullable Object value, int fallback, int smallest, int largest) {
    if (value == null) {
      return fallback;
    }
    boolean fits =
        switch (value) {
          case Integer i -> i >= smallest && i <= largest;
          case Long l -> l >= smallest && l <= largest;
          default -> false;
        };
    if (!fits) {
      throw wrong(name, value, "a whole number from %d to %d".formatted(smallest, largest));
    }
    return ((Number) value).intValue();
  }

  /** A whole number of at least 0, or null. */
  @Nullable Integer token(String name) {
    return find(name) == null ? null : whole(name, 0, 0, Integer.MAX_VALUE);
  }

  /** Token ids, where one alone may stand for a list of one. */
  List<Integer> tokens(String name) {
    Object value = find(name);
    if (value instanceof List<?> list) {
      return list.stream()
          .map(each -> whole(name, Objects.requireNonNullElse(each, "null"), 0, 0, LARGEST))
          .toList();
    }
    return value == null ? List.of() : List.of(whole(name, value, 0, 0, LARGEST));
  }

  /** A finite number. */
  double number(String name, double fallback) {
    Object value = find(name);
    if (value == null) {
      return fallback;
    }
    if (!(value instanceof Number number) || !Double.isFinite(number.doubleValue())) {
      throw wrong(name, value, "a number");
    }
    return number.doubleValue();
  }

  /** A finite number above 0. */
  double positive(String name, double fallback) {
    double number = number(name, fallback);
    if (!(number > 0)) {
      throw wrong(name, number, "a number above 0");
    }
    return number;
  }

  /** A number above 0 that must be there. */
  double positive(String name) {
    if (find(name) == null) {
      throw new IllegalArgumentException(
          "config field %s is missing, which %s needs; it is a number above 0"
              .formatted(path + name, owner));
    }
    return positive(name, 1);
  }

  /** A probability in [0, 1). */
  double probability(String name, double fallback) {
    double number = number(name, fallback);
    if (!(number >= 0 && number < 1)) {
      throw wrong(name, number, "a probability in [0, 1)");
    }
    return number;
  }

  boolean flag(String name, boolean fallback) {
    Object value = find(name);
    if (value == null) {
      return fallback;
    }
    if (!(value instanceof Boolean flag)) {
      throw wrong(name, value, "true or false");
    }
    return flag;
  }

  String text(String name, String fallback) {
    Object value = find(name);
    if (value == null) {
      return fallback;
    }
    if (!(value instanceof String text)) {
      throw wrong(name, value, "a text");
    }
    return text;
  }

  /** A list of texts, or null. */
  @Nullable List<String> texts(String name) {
    Object value = find(name);
    if (value == null) {
      return null;
    }
    if (!(value instanceof List<?> list)) {
      throw wrong(name, value, "a list of texts");
    }
    var texts = new ArrayList<String>();
    for (Object each : list) {
      if (!(each instanceof String text)) {
        throw wrong(name, value, "a list of texts");
      }
      texts.add(text);
    }
    return texts;
  }

  /** The fields of an object in a field, or null. */
  @Nullable ConfigFields object(String name) {
    Object value = find(name);
    if (value == null) {
      return null;
    }
    if (!(value instanceof Map<?, ?> map)) {
      throw wrong(name, value, "an object");
    }
    return new ConfigFields(owner, path + name + ".", map);
  }

  Activation activation(String name, String fallback) {
    return activation(name, text(name, fallback), text(name, fallback));
  }

  Activation activation(String name, String shown, String activation) {
    Activation known = Activation.named(activation);
    if (known == null) {
      throw new IllegalArgumentException(
          "config field %s = %s is not an activation that %s can compute; known are silu, gelu,"
                  .formatted(path + name, shown(shown), owner)
              + " gelu_new, gelu_pytorch_tanh, relu and quick_gelu");
    }
    return known;
  }

  /** Refuses a field that matters unless it is absent, null or one of these values. */
  void only(String name, Object... harmless) {
    Object value = find(name);
    if (value != null && Arrays.stream(harmless).noneMatch(each -> same(each, value))) {
      throw notHonoured(name);
    }
  }

  private static boolean same(Object a, Object b) {
    return (a instanceof Number x && b instanceof Number y)
        ? x.doubleValue() == y.doubleValue()
        : a.equals(b);
  }

  IllegalArgumentException notHonoured(String name) {
    return new IllegalArgumentException(
        "config field %s = %s would change the result and is not honoured for %s"
            .formatted(path + name, shown(raw.get(name)), owner));
  }

  IllegalArgumentException wrong(String name, Object value, String expected) {
    return new IllegalArgumentException(
        "config field %s = %s but %s needs %s"
            .formatted(path + name, shown(value), owner, expected));
  }

  private static String shown(@Nullable Object value) {
    String text = value instanceof String s ? "\"" + s + "\"" : String.valueOf(value);
    return text.length() > 80 ? text.substring(0, 77) + "..." : text;
  }

  /** Names of the fields that nobody has asked for. */
  Set<String> unread() {
    var unread = new LinkedHashSet<String>();
    for (Object name : raw.keySet()) {
      if (!read.contains(String.valueOf(name))) {
        unread.add(String.valueOf(name));
      }
    }
    return unread;
  }
}
