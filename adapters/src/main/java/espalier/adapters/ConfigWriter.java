package espalier.adapters;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Writes the fields of an {@code adapter_config.json}, or of an object inside it; {@link
 * ConfigFields} reads them.
 */
public final class ConfigWriter {

  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

  private final ObjectNode fields = JSON.objectNode();
  private final Map<String, JsonNode> overlay = new TreeMap<>();

  private ConfigWriter() {}

  /** No fields yet. */
  public static ConfigWriter empty() {
    return new ConfigWriter();
  }

  /** Writes a whole number. */
  public ConfigWriter put(String key, int value) {
    fields.put(key, value);
    return this;
  }

  /** Writes a number with a decimal point. */
  public ConfigWriter put(String key, double value) {
    fields.put(key, value);
    return this;
  }

  /** Writes a number without a decimal point where it is a whole one. */
  public ConfigWriter putNumber(String key, double value) {
    fields.set(key, number(value));
    return this;
  }

  private static JsonNode number(double value) {
    boolean integral = value == Math.rint(value) && Math.abs(value) < 1e9;
    return integral ? JSON.numberNode((int) value) : JSON.numberNode(value);
  }

  /** Writes true or false. */
  public ConfigWriter put(String key, boolean value) {
    fields.put(key, value);
    return this;
  }

  /** Writes a text or null. */
  public ConfigWriter put(String key, @Nullable String value) {
    fields.put(key, value);
    return this;
  }

  /** Writes a list of texts or of whole numbers, or null. */
  public ConfigWriter put(String key, @Nullable List<?> values) {
    if (values == null) {
      fields.putNull(key);
      return this;
    }
    var array = fields.putArray(key);
    values.forEach(value -> array.add(node(value)));
    return this;
  }

  /** Writes one thing or a list of things, as it was, or null. */
  public ConfigWriter put(String key, @Nullable OneOrMany<?> values) {
    if (values != null && values.one()) {
      fields.set(key, node(values.values().getFirst()));
      return this;
    }
    return put(key, values == null ? null : values.values());
  }

  /** Writes values by path pattern in their order, which decides which one counts. */
  public ConfigWriter put(String key, PathMap<? extends Number> values) {
    ObjectNode object = fields.putObject(key);
    values.entries().forEach((k, v) -> object.set(k, number(v.doubleValue())));
    return this;
  }

  /** Writes a choice of modules: a list, a text, or null. */
  public ConfigWriter put(String key, @Nullable Modules modules) {
    return switch (modules) {
      case null -> put(key, (String) null);
      case Modules.Named(var names) -> put(key, names);
      case Modules.Matching(var regex) -> put(key, regex);
      case Modules.AllLinear() -> put(key, "all-linear");
      case Modules.ByArchitecture() -> put(key, (String) null);
    };
  }

  /** Writes any JSON value, or null. */
  public ConfigWriter put(String key, @Nullable JsonNode value) {
    if (value == null) {
      fields.putNull(key);
    } else {
      fields.set(key, value.deepCopy());
    }
    return this;
  }

  /** Writes the fields of an object inside this one. */
  public ConfigWriter putNested(String key, ConfigWriter nested) {
    fields.set(key, nested.json());
    return this;
  }

  private static JsonNode node(Object value) {
    return switch (value) {
      case String text -> JSON.stringNode(text);
      case Integer number -> JSON.numberNode(number);
      case Long number -> JSON.numberNode(number);
      case JsonNode json -> json;
      case List<?> list -> {
        var array = JSON.arrayNode();
        list.forEach(element -> array.add(node(element)));
        yield array;
      }
      default -> throw new IllegalArgumentException("no field holds a " + value.getClass());
    };
  }

  /** Writes what all methods say, with the unknown fields that came from a file. */
  public ConfigWriter head(String peftType, ConfigHead head) {
    overlay.putAll(head.unknown());
    CommonFields.writeHead(peftType, head, this);
    return this;
  }

  /** Writes the fields that {@link ConfigFields#targets()} reads. */
  public ConfigWriter targets(Targets targets) {
    CommonFields.writeTargets(targets, this);
    return this;
  }

  /** The same for a method whose files do not say how a weight is stored. */
  public ConfigWriter choice(Targets targets) {
    CommonFields.writeChoice(targets, this);
    return this;
  }

  /** The fields, keys sorted. */
  public ObjectNode json() {
    var all = new TreeMap<String, JsonNode>();
    fields.properties().forEach(entry -> all.put(entry.getKey(), entry.getValue()));
    all.putAll(overlay);
    ObjectNode sorted = JSON.objectNode();
    all.forEach(sorted::set);
    return sorted;
  }
}
