package espalier.training;

import espalier.text.Message;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * Reads conversations: OpenAI's {@code messages} of role and content, and ShareGPT's {@code
 * conversations} of from and value.
 */
final class MessagesParser {

  private static final Map<String, String> ROLES =
      Map.of(
          "human", "user",
          "gpt", "assistant",
          "chatgpt", "assistant",
          "bot", "assistant",
          "model", "assistant",
          "observation", "tool");
  private static final Set<String> NAMED = Set.of("role", "from", "content", "value", "weight");

  private MessagesParser() {}

  static MessagesRow parse(Fields fields) {
    RowSource source = fields.source();
    JsonNode list = fields.list("messages");
    if (list == null) {
      list = fields.list("conversations");
    }
    if (list == null || list.isEmpty()) {
      throw new DataException(
          "%s has no messages; expected a list such as [{\"role\": \"user\", \"content\": \"...\"}, ...], and the row has %s"
              .formatted(source, list == null ? fields.present() : "an empty list"));
    }
    var messages = new ArrayList<Message>();
    for (JsonNode message : list) {
      messages.add(message(message, "%s, message %d,".formatted(source, messages.size() + 1)));
    }
    // ShareGPT keeps the system prompt in a column of its own.
    String system = fields.optionalText("system");
    if (!system.isBlank() && !messages.getFirst().role().equals("system")) {
      messages.addFirst(Message.system(system));
    }
    return new MessagesRow(messages, tools(fields), source);
  }

  private static Message message(JsonNode node, String where) {
    if (!node.isObject()) {
      throw new DataException(
          "%s is %s, but an object with role and content is expected"
              .formatted(where, Fields.describe(node)));
    }
    refuseWeight(node, where);
    Map<String, Object> extra = extra(node);
    return new Message(role(node, where), content(node, extra, where), extra);
  }

  private static String role(JsonNode node, String where) {
    JsonNode role = node.hasNonNull("role") ? node.get("role") : node.get("from");
    if (role == null || !role.isString() || role.stringValue().isBlank()) {
      throw new DataException(
          "%s has no role; expected role and content, or from and value, and the message has %s"
              .formatted(where, node.propertyNames().stream().collect(Collectors.joining(", "))));
    }
    String name = role.stringValue();
    return ROLES.getOrDefault(name.toLowerCase(Locale.ROOT), name);
  }

  private static String content(JsonNode node, Map<String, Object> extra, String where) {
    JsonNode content = node.hasNonNull("content") ? node.get("content") : node.get("value");
    if (content == null || content.isNull()) {
      if (extra.containsKey("tool_calls") || extra.containsKey("function_call")) {
        return ""; // the turn is the call
      }
      throw new DataException(
          "%s has no content; expected text, which may be \"\"".formatted(where));
    }
    return switch (content.getNodeType()) {
      case STRING -> content.stringValue();
      case ARRAY -> joinedParts(content, where);
      default ->
          throw new DataException(
              "%s has %s as content, but text is expected"
                  .formatted(where, Fields.describe(content)));
    };
  }

  /**
   * Content as a list of parts; only text can be trained, and most templates take only a string.
   */
  private static String joinedParts(JsonNode parts, String where) {
    var text = new StringBuilder();
    for (JsonNode part : parts) {
      if (!part.path("text").isString() || !part.path("type").asString("text").equals("text")) {
        throw new DataException(
            "%s has a part of type %s in its content, but only text is trained; leave the part out"
                .formatted(where, part.path("type").asString("unknown")));
      }
      text.append(part.path("text").stringValue());
    }
    return text.toString();
  }

  private static Map<String, Object> extra(JsonNode node) {
    var extra = new LinkedHashMap<String, Object>();
    for (var property : node.properties()) {
      Object value = NAMED.contains(property.getKey()) ? null : Fields.plain(property.getValue());
      if (value != null) {
        extra.put(property.getKey(), value);
      }
    }
    return extra;
  }

  /**
   * OpenAI's weight 0 asks that a message be read but not learned, which would be lost silently.
   */
  private static void refuseWeight(JsonNode node, String where) {
    if (node.hasNonNull("weight") && node.get("weight").asDouble(0) != 1) {
      throw new DataException(
          "%s has weight %s, but every message of the assistant is trained alike; leave weight out"
              .formatted(where, node.get("weight")));
    }
  }

  private static List<Object> tools(Fields fields) {
    JsonNode list = fields.list("tools");
    var tools = new ArrayList<Object>();
    if (list != null) {
      for (JsonNode tool : list) {
        @Nullable Object plain = Fields.plain(tool);
        if (plain != null) {
          tools.add(plain);
        }
      }
    }
    return tools;
  }
}
