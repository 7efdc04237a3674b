package espalier.adapters;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * The fields of an {@code adapter_config.json}, or of an object inside it, to be read; {@link
 * ConfigWriter} writes them.
 *
 * <p>A missing field has its default. Fields that nobody asked for are {@link #unknown()}: they are
 * reported once and written back. Errors name the field as it stands in the file.
 */
public final class ConfigFields {

  private final String owner; // "" or "eva_config."
  private final ObjectNode fields;
  private final Set<String> asked;
  private final Set<String> idle;
  private final List<String> warnings;
  private final Map<String, String> strangers; // of the nested objects, with the nearest known key

  private ConfigFields(
      String owner, ObjectNode fields, List<String> warnings, Map<String, String> strangers) {
    this(owner, fields, new LinkedHashSet<>(), new LinkedHashSet<>(), warnings, strangers);
  }

  private ConfigFields(
      String owner,
      ObjectNode fields,
      Set<String> asked,
      Set<String> idle,
      List<String> warnings,
      Map<String, String> strangers) {
    this.owner = owner;
    this.fields = fields;
    this.asked = asked;
    this.idle = idle;
    this.warnings = warnings;
    this.strangers = strangers;
  }

  private static ConfigFields whole(ObjectNode fields) {
    return new ConfigFields("", fields, new ArrayList<>(), new TreeMap<>());
  }

  /** The fields of a file's object, which is left as it is. */
  public static ConfigFields of(ObjectNode fields) {
    return whole(fields.deepCopy());
  }

  /** These fields but for one, which the caller has read; what is asked of them is asked here. */
  public ConfigFields without(String key) {
    ObjectNode fewer = fields.deepCopy();
    fewer.remove(key);
    return new ConfigFields(owner, fewer, asked, idle, warnings, strangers);
  }

  /** No fields: whatever is asked for has its default. */
  public static ConfigFields empty() {
    return whole(JsonNodeFactory.instance.objectNode());
  }

  private @Nullable JsonNode find(String key) {
    asked.add(key);
    JsonNode node = fields.get(key);
    return node == null || node.isNull() ? null : node;
  }

  /** Whether the field is there, be it null. */
  public boolean has(String key) {
    return fields.has(key);
  }

  private ConfigException wrong(String key, @Nullable JsonNode node, String expected) {
    return new ConfigException(
        "%s%s is %s but %s is expected".formatted(owner, key, node, expected));
  }

  private <T> T read(
      String key, T otherwise, String expected, Function<JsonNode, @Nullable T> reader) {
    JsonNode node = find(key);
    if (node == null) {
      if (fields.has(key)) {
        throw wrong(key, fields.get(key), expected);
      }
      return otherwise;
    }
    T value = reader.apply(node);
    if (value == null) {
      throw wrong(key, node, expected);
    }
    return value;
  }

  /** A whole number. */
  public int integer(String key, int otherwise) {
    return read(key, otherwise, "a whole number", ConfigFields::whole);
  }

  /** A whole number, or null. */
  public @Nullable Integer integerOrNull(String key) {
    return find(key) == null ? null : Integer.valueOf(integer(key, 0));
  }

  /** A number. */
  public double number(String key, double otherwise) {
    return read(key, otherwise, "a number", n -> n.isNumber() ? n.doubleValue() : null);
  }

  /** True or false. */
  public boolean flag(String key, boolean otherwise) {
    return read(key, otherwise, "true or false", n -> n.isBoolean() ? n.booleanValue() : null);
  }

  /** A text. */
  public String text(String key, String otherwise) {
    return read(key, otherwise, "a text", ConfigFields::string);
  }

  /** A text, or null. */
  public @Nullable String textOrNull(String key) {
    return find(key) == null ? null : text(key, "");
  }

  /** A list of texts, or null. A text alone is refused. */
  public @Nullable List<String> textsOrNull(String key) {
    JsonNode node = find(key);
    return node == null ? null : list(key, node, "a list of texts", ConfigFields::string);
  }

  /** A list of whole numbers, or null. */
  public @Nullable List<Integer> integersOrNull(String key) {
    JsonNode node = find(key);
    return node == null ? null : list(key, node, "a list of whole numbers", ConfigFields::whole);
  }

  /** A text or a list of texts, or null. */
  public @Nullable OneOrMany<String> textOrTexts(String key) {
    return oneOrMany(key, "a text or a list of texts", ConfigFields::string);
  }

  /** A whole number or a list of them, or null. */
  public @Nullable OneOrMany<Integer> integerOrIntegers(String key) {
    return oneOrMany(key, "a whole number or a list of them", ConfigFields::whole);
  }

  private <T> @Nullable OneOrMany<T> oneOrMany(
      String key, String expected, Function<JsonNode, @Nullable T> reader) {
    JsonNode node = find(key);
    if (node == null) {
      return null;
    }
    T one = reader.apply(node);
    return one == null ? OneOrMany.many(list(key, node, expected, reader)) : OneOrMany.one(one);
  }

  private <T> List<T> list(
      String key, JsonNode node, String expected, Function<JsonNode, @Nullable T> reader) {
    if (!node.isArray()) {
      throw wrong(key, node, expected);
    }
    var values = new ArrayList<T>();
    for (JsonNode element : node) {
      T value = reader.apply(element);
      if (value == null) {
        throw wrong(key, node, expected);
      }
      values.add(value);
    }
    return values;
  }

  /** Whole numbers by path pattern, in the order of the file. */
  public PathMap<Integer> integersByPath(String key) {
    return map(key, "an object of whole numbers", ConfigFields::whole);
  }

  /** Numbers by path pattern, in the order of the file. */
  public PathMap<Double> numbersByPath(String key) {
    return map(key, "an object of numbers", n -> n.isNumber() ? n.doubleValue() : null);
  }

  private <T> PathMap<T> map(String key, String expected, Function<JsonNode, @Nullable T> reader) {
    JsonNode node = find(key);
    if (node == null) {
      return PathMap.empty();
    }
    if (!node.isObject()) {
      throw wrong(key, node, expected);
    }
    var values = new LinkedHashMap<String, T>();
    for (Map.Entry<String, JsonNode> entry : node.properties()) {
      T value = reader.apply(entry.getValue());
      if (value == null) {
        throw wrong(key, node, expected);
      }
      values.put(entry.getKey(), value);
    }
    return new PathMap<>(values);
  }

  /** The field as it stands, or null. */
  public @Nullable JsonNode json(String key) {
    return find(key);
  }

  /**
   * The fields of an object inside this one, or null. When it is read, hand it to {@link
   * #finish(ConfigFields)} to have its unknown fields reported.
   */
  public @Nullable ConfigFields nested(String key) {
    JsonNode node = find(key);
    if (node == null) {
      return null;
    }
    if (!(node instanceof ObjectNode object)) {
      throw wrong(key, node, "an object");
    }
    return new ConfigFields(owner + key + ".", object, warnings, strangers);
  }

  /** Warns about fields of a nested object that nobody asked for; they are dropped. */
  public void finish(ConfigFields nested) {
    var unknown = nested.unknown().keySet();
    strangers.putAll(nested.named(unknown));
    if (!unknown.isEmpty()) {
      warn(
          "%sthe fields %s are not known and are dropped"
              .formatted(nested.owner.replaceAll("\\.$", ": "), unknown));
    }
  }

  /** What all methods say, but for the unknown fields. */
  public ConfigHead head() {
    asked.addAll(List.of("peft_type", "peft_version"));
    return CommonFields.readHead(this);
  }

  /**
   * The layers concerned, from the fields that most methods share. Those that are not in the file
   * are null.
   */
  public Targets targets() {
    return CommonFields.readTargets(this);
  }

  /** Fields that nobody has asked for, sorted. */
  public Map<String, JsonNode> unknown() {
    var rest = new TreeMap<String, JsonNode>();
    for (Map.Entry<String, JsonNode> entry : fields.properties()) {
      if (!asked.contains(entry.getKey()) && !idle.contains(entry.getKey())) {
        rest.put(entry.getKey(), entry.getValue());
      }
    }
    return Collections.unmodifiableMap(rest);
  }

  /**
   * Fields that nobody has asked for, here and in the nested objects that are {@linkplain #finish
   * finished}, by their path, such as {@code mask_options.frequenzy}; each with the nearest known
   * name.
   */
  public Map<String, String> strangers() {
    var all = new TreeMap<>(strangers);
    all.putAll(named(unknown().keySet()));
    return Collections.unmodifiableMap(all);
  }

  private Map<String, String> named(Collection<String> unknown) {
    var nearest = new TreeMap<String, String>();
    unknown.forEach(key -> nearest.put(owner + key, owner + Nearest.of(key, asked)));
    return nearest;
  }

  /** Leaves a field that has no effect as it is, with a warning, so that it is written back. */
  public void idle(String key, String warning) {
    idle.add(key);
    warn(warning);
  }

  /** Fields to be written back as they stand: unknown ones and those without effect. */
  public Map<String, JsonNode> kept() {
    var kept = new TreeMap<>(unknown());
    idle.forEach(key -> kept.put(key, fields.get(key)));
    return kept;
  }

  /** Notes what the user should know. */
  public void warn(String sentence) {
    warnings.add(sentence);
  }

  /** What was noted while reading, in order. */
  public List<String> warnings() {
    return List.copyOf(warnings);
  }

  private static @Nullable Integer whole(JsonNode node) {
    if (!node.isNumber() || node.doubleValue() != Math.rint(node.doubleValue())) {
      return null;
    }
    return node.canConvertToInt() ? Integer.valueOf((int) node.doubleValue()) : null;
  }

  private static @Nullable String string(JsonNode node) {
    return node.isString() ? node.stringValue() : null;
  }
}
