package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

class MessageTest {

  @Test
  void a_message_is_seen_with_its_fields_in_order() {
    Message message = new Message("tool", "20 degrees", Map.of("name", "weather"));

    assertThat(message.asMap().entrySet())
        .extracting(Map.Entry::toString)
        .containsExactly("role=tool", "content=20 degrees", "name=weather");
  }

  @Test
  void a_row_becomes_messages() {
    List<Message> messages =
        Message.listFrom(
            List.of(
                Map.of("role", "user", "content", "Hi"),
                Map.of("role", "assistant", "content", "Hello", "weight", 1)));

    assertThat(messages)
        .containsExactly(
            Message.user("Hi"), new Message("assistant", "Hello", Map.of("weight", 1)));
  }

  @Test
  void fields_that_are_null_are_left_out() {
    Map<String, Object> fields = new HashMap<>();
    fields.put("role", "user");
    fields.put("content", "Hi");
    fields.put("tool_calls", null);

    assertThat(Message.from(fields)).isEqualTo(Message.user("Hi"));
  }

  @Test
  void a_tool_call_may_have_null_content() {
    Map<String, Object> fields = new HashMap<>();
    fields.put("role", "assistant");
    fields.put("content", null);
    fields.put("tool_calls", List.of());

    assertThat(Message.from(fields).asMap()).isEqualTo(fields);
  }

  @Test
  void content_in_parts_is_kept() {
    List<Object> parts = List.of(Map.of("type", "text", "text", "Hi"));

    assertThat(Message.from(Map.of("role", "user", "content", parts)).asMap())
        .containsEntry("content", parts);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "null | a row's messages are missing but a list of messages is expected",
        "[] | a row's messages are an empty list but a list of messages is expected",
        "\"Hi\" | a row's messages are the string \"Hi\" but a list of messages is expected",
        "[\"Hi\"] | message 0 is the string \"Hi\" but an object with role and content is expected",
        "[{\"content\": \"Hi\"}] | message 0: a message has the role missing but a string",
        "[{\"role\": 1, \"content\": \"Hi\"}] | message 0: a message has the role the number 1 but"
            + " a string",
        "[{\"role\": [\"user\"], \"content\": \"Hi\"}] | message 0: a message has the role a list"
            + " but a string",
        "[{\"role\": \"user\"}] | message 0: a message of role user has the content missing but a"
            + " string is expected",
        "[{\"role\": \"user\", \"text\": \"Hi\"}] | message 0: a message of role user has the"
            + " content missing",
        "[{\"role\": \"user\", \"content\": 5}] | message 0: a message of role user has the content"
            + " the number 5",
        "[{\"role\": \" \", \"content\": \"Hi\"}] | message 0: a message has a blank role"
      })
  void a_row_of_the_wrong_shape_is_refused(String json, String message) {
    Object row = JsonMapper.shared().readValue(json, new TypeReference<Object>() {});

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Message.listFrom(row))
        .withMessageStartingWith(message);
  }

  @Test
  void a_message_may_hold_nulls_deeper_down() {
    Map<String, Object> arguments = new HashMap<>();
    arguments.put("z", null);

    Message message = new Message("assistant", "", Map.of("arguments", arguments));

    assertThat(message.asMap()).containsEntry("arguments", arguments);
    assertThat(Arrays.asList(message.asMap().keySet().toArray()))
        .containsExactly("role", "content", "arguments");
  }
}
