package espalier.text;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One turn of a conversation.
 *
 * @param role who speaks, usually {@code system}, {@code user}, {@code assistant} or {@code tool}
 * @param content what is said; empty where the turn holds only a tool call
 * @param extra further fields that some templates read, as parsed from JSON: {@code tool_calls},
 *     {@code tool_call_id}, {@code name}, {@code reasoning_content}, ... May also hold {@code
 *     content} as a list of parts, which then stands in for the string.
 */
public record Message(String role, String content, Map<String, Object> extra) {

  /** Fields that stand for what is said where the content is null. */
  private static final List<String> SPOKEN_ELSEWHERE =
      List.of("tool_calls", "reasoning_content", "thinking", "reasoning");

  public Message {
    if (role.isBlank()) {
      throw new IllegalArgumentException(
          "a message has a blank role but expects one such as user or assistant");
    }
    // not Map.copyOf: JSON has nulls, and templates print fields in the order in which they stood
    extra = Collections.unmodifiableMap(new LinkedHashMap<>(extra));
  }

  public static Message of(String role, String content) {
    return new Message(role, content, Map.of());
  }

  public static Message system(String content) {
    return of("system", content);
  }

  public static Message user(String content) {
    return of("user", content);
  }

  public static Message assistant(String content) {
    return of("assistant", content);
  }

  /**
   * A message from the fields of a JSON object.
   *
   * <p>Content may also be a list of parts, or null beside a tool call or a thought; then the
   * template gets it as it is. Other fields that are null are left out: tables have them where a
   * row lacks the field, and templates ask whether it is there.
   *
   * @throws IllegalArgumentException when role or content is missing or of the wrong type
   */
  public static Message from(Map<String, ?> fields) {
    if (!(fields.get("role") instanceof String role)) {
      throw new IllegalArgumentException(
          "a message has the role %s but a string such as \"user\" is expected"
              .formatted(shown(fields.get("role"))));
    }
    Object content = fields.get("content");
    boolean silent =
        content == null && SPOKEN_ELSEWHERE.stream().anyMatch(f -> fields.get(f) != null);
    if (!(content instanceof String) && !(content instanceof List) && !silent) {
      throw new IllegalArgumentException(
          "a message of role %s has the content %s but a string is expected"
              .formatted(role, shown(content)));
    }
    Map<String, @Nullable Object> extra = new LinkedHashMap<>(fields);
    extra.values().removeIf(Objects::isNull);
    extra.remove("role");
    extra.remove("content");
    if (content instanceof String text) {
      return new Message(role, text, extra);
    }
    extra.put("content", content);
    return new Message(role, "", extra);
  }

  /**
   * The messages of a row of training data, a list of JSON objects.
   *
   * @throws IllegalArgumentException when it is no such list; says which message is wrong and how
   */
  public static List<Message> listFrom(@Nullable Object row) {
    if (!(row instanceof List<?> elements) || elements.isEmpty()) {
      throw new IllegalArgumentException(
          "a row's messages are %s but a list of messages is expected, such as"
                  .formatted(row instanceof List ? "an empty list" : shown(row))
              + " [{\"role\": \"user\", \"content\": \"Hi\"}]");
    }
    List<Message> messages = new ArrayList<>(elements.size());
    for (Object element : elements) {
      if (!(element instanceof Map<?, ?> map)) {
        throw new IllegalArgumentException(
            "message %d is %s but an object with role and content is expected"
                .formatted(messages.size(), shown(element)));
      }
      Map<String, Object> fields = new LinkedHashMap<>();
      map.forEach((name, value) -> fields.put(String.valueOf(name), value));
      try {
        messages.add(from(fields));
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException(
            "message %d: %s".formatted(messages.size(), e.getMessage()), e);
      }
    }
    return messages;
  }

  private static String shown(@Nullable Object value) {
    return switch (value) {
      case null -> "missing";
      case String text -> "the string \"%.40s\"".formatted(text);
      case Number number -> "the number " + number;
      case List<?> _ -> "a list";
      case Map<?, ?> _ -> "an object";
      default -> String.valueOf(value);
    };
  }

  /** The message as a template sees it: role, content, then the extra fields. */
  public Map<String, Object> asMap() {
    var map = new LinkedHashMap<String, Object>();
    map.put("role", role);
    map.put("content", content);
    map.putAll(extra);
    return Collections.unmodifiableMap(map);
  }
}
