package espalier.recipes;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * One object of a recipe that the schema has passed: its types are right, fields may be missing.
 */
record Section(ObjectNode node, String path) {

  private @Nullable JsonNode find(String key) {
    JsonNode value = node.get(key);
    return value == null || value.isNull() ? null : value;
  }

  private String name(String key) {
    return path.isEmpty() ? key : path + "." + key;
  }

  private RecipeException missing(String key, String example) {
    return new RecipeException(
        "the recipe has no %s but needs one, such as %s: %s".formatted(name(key), key, example));
  }

  String string(String key, String example) {
    JsonNode value = find(key);
    if (value == null) {
      throw missing(key, example);
    }
    return value.asString();
  }

  @Nullable String stringOrNull(String key) {
    JsonNode value = find(key);
    return value == null ? null : value.asString();
  }

  List<String> strings(String key) {
    JsonNode value = find(key);
    var all = new ArrayList<String>();
    if (value != null && value.isArray()) {
      value.forEach(v -> all.add(v.asString()));
    } else if (value != null) {
      all.add(value.asString());
    }
    return all;
  }

  double number(String key, double otherwise) {
    JsonNode value = find(key);
    return value == null ? otherwise : value.asDouble();
  }

  @Nullable Double numberOrNull(String key) {
    JsonNode value = find(key);
    return value == null ? null : value.asDouble();
  }

  @Nullable List<Double> numbersOrNull(String key) {
    JsonNode value = find(key);
    if (value == null) {
      return null;
    }
    var all = new ArrayList<Double>();
    value.forEach(v -> all.add(v.asDouble()));
    return all;
  }

  int integer(String key, int otherwise) {
    JsonNode value = find(key);
    return value == null ? otherwise : value.asInt();
  }

  long whole(String key, long otherwise) {
    JsonNode value = find(key);
    return value == null ? otherwise : value.asLong();
  }

  boolean flag(String key, boolean otherwise) {
    JsonNode value = find(key);
    return value == null ? otherwise : value.asBoolean();
  }

  boolean has(String key) {
    return find(key) != null;
  }

  <E extends Enum<E>> E choice(String key, E otherwise) {
    JsonNode value = find(key);
    return value == null
        ? otherwise
        : Enum.valueOf(
            otherwise.getDeclaringClass(),
            value.asString().toUpperCase(Locale.ROOT).replace('-', '_'));
  }

  ObjectNode object(String key, String example) {
    JsonNode value = find(key);
    if (value == null) {
      throw missing(key, example);
    }
    return (ObjectNode) value;
  }

  Section section(String key) {
    JsonNode value = find(key);
    ObjectNode object = value == null ? JsonNodeFactory.instance.objectNode() : (ObjectNode) value;
    return new Section(object, name(key));
  }
}
