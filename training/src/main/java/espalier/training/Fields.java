package espalier.training;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The columns of one row, asked for by name and type; what is not as asked is an error that names
 * the row.
 */
record Fields(JsonNode node, RowSource source) {

  Set<String> names() {
    return new LinkedHashSet<>(node.propertyNames());
  }

  /** The text of the first of these columns that the row has. */
  String text(String... names) {
    for (String name : names) {
      JsonNode value = value(name);
      if (value != null) {
        if (!value.isString()) {
          throw new DataException(
              "%s has %s in %s, but text is expected".formatted(source, describe(value), name));
        }
        return value.stringValue();
      }
    }
    throw new DataException(
        "%s has no %s; expected text there, and the row has %s"
            .formatted(source, String.join(" or ", names), present()));
  }

  /** The text of this column, or the empty text where the row has none. */
  String optionalText(String name) {
    return value(name) == null ? "" : text(name);
  }

  /**
   * The list in this column, or null where the row has none. CSV and some Parquet files keep lists
   * as JSON texts, so these are read too.
   */
  @Nullable JsonNode list(String name) {
    JsonNode value = value(name);
    if (value == null) {
      return null;
    }
    JsonNode list = value.isString() ? parsed(value.stringValue()) : value;
    if (list == null || !list.isArray()) {
      throw new DataException(
          "%s has %s in %s, but a list is expected".formatted(source, describe(value), name));
    }
    return list;
  }

  /** The columns that are not null, for an error. */
  String present() {
    List<String> present = names().stream().filter(name -> value(name) != null).toList();
    return present.isEmpty() ? "nothing" : String.join(", ", present);
  }

  private @Nullable JsonNode value(String name) {
    JsonNode value = node.get(name);
    return value == null || value.isNull() ? null : value;
  }

  private static @Nullable JsonNode parsed(String json) {
    try {
      return JsonMapper.shared().readTree(json);
    } catch (JacksonException notJson) {
      return null;
    }
  }

  /** The kind of a value and a little of it, for an error: {@code the number 5}. */
  static String describe(JsonNode value) {
    return switch (value.getNodeType()) {
      case NUMBER -> "the number " + value;
      case STRING -> "the text '" + DataFaults.shortened(value.stringValue()) + "'";
      case BOOLEAN -> "the value " + value;
      case ARRAY -> "a list";
      case OBJECT, POJO -> "an object";
      case NULL, MISSING -> "nothing";
      case BINARY -> "bytes";
    };
  }

  /**
   * A JSON value as maps, lists, strings, numbers and booleans, without the fields that are null.
   */
  static @Nullable Object plain(JsonNode value) {
    return switch (value.getNodeType()) {
      case OBJECT, POJO -> {
        Map<String, @Nullable Object> map = new LinkedHashMap<>();
        for (var property : value.properties()) {
          if (!property.getValue().isNull()) {
            map.put(property.getKey(), plain(property.getValue()));
          }
        }
        yield map;
      }
      case ARRAY -> {
        List<@Nullable Object> list = new ArrayList<>();
        value.forEach(element -> list.add(plain(element)));
        yield list;
      }
      case STRING -> value.stringValue();
      case NUMBER -> value.numberValue();
      case BOOLEAN -> value.booleanValue();
      case NULL, MISSING, BINARY -> null;
    };
  }
}
