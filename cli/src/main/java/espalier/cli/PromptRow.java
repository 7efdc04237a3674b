package espalier.cli;

import espalier.text.Message;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * A line of a file of prompts.
 *
 * @param text the prompt, or null where there are messages
 * @param messages a conversation that is to be answered; empty where there is a text
 * @param adapter who answers, or null for what is active
 */
record PromptRow(@Nullable String text, List<Message> messages, @Nullable String adapter) {

  static PromptRow of(String text) {
    return new PromptRow(text, List.of(), null);
  }

  /**
   * Reads JSON Lines of {@code prompt} or {@code messages}, each with an {@code adapter} perhaps.
   *
   * @throws IllegalArgumentException for a line that is neither, with its number
   */
  static List<PromptRow> read(Path file) throws IOException {
    List<String> lines = Files.readAllLines(file);
    var rows = new ArrayList<PromptRow>();
    for (int i = 0; i < lines.size(); i++) {
      if (!lines.get(i).isBlank()) {
        try {
          rows.add(parse(lines.get(i)));
        } catch (IllegalArgumentException e) {
          throw new IllegalArgumentException(
              "%s line %d: %s".formatted(file, i + 1, e.getMessage()), e);
        }
      }
    }
    if (rows.isEmpty()) {
      throw new IllegalArgumentException(
          "%s has no prompts; write one JSON object a line, such as {\"prompt\": \"Hello\"}"
              .formatted(file));
    }
    return rows;
  }

  private static PromptRow parse(String line) {
    Map<?, ?> fields;
    try {
      fields = JsonMapper.shared().readValue(line, Map.class);
    } catch (JacksonException e) {
      throw new IllegalArgumentException(
          "is not a JSON object: %s".formatted(e.getOriginalMessage()), e);
    }
    Object adapter = fields.get("adapter");
    String name = adapter == null ? null : adapter.toString();
    if (fields.get("prompt") instanceof String text && fields.get("messages") == null) {
      return new PromptRow(text, List.of(), name);
    }
    if (fields.get("prompt") == null && fields.get("messages") != null) {
      return new PromptRow(null, Message.listFrom(fields.get("messages")), name);
    }
    throw new IllegalArgumentException(
        "has the fields %s but needs prompt, a text, or messages, a conversation"
            .formatted(fields.keySet()));
  }
}
