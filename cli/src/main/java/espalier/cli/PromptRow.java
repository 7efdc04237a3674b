package espalier.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.text.Message;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * A line of a file of prompts.
 *
 * @param where its file and line, for errors
 * @param text the prompt, or null where there are messages
 * @param messages a conversation that is to be answered; empty where there is a text
 * @param adapter who answers, or null for what is active
 */
record PromptRow(
    String where, @Nullable String text, List<Message> messages, @Nullable String adapter) {

  static PromptRow of(String text) {
    return new PromptRow("the prompt", text, List.of(), null);
  }

  /**
   * Reads JSON Lines of {@code prompt} or {@code messages}, each with an {@code adapter} perhaps.
   *
   * @throws IllegalArgumentException for a line that is neither, with its number
   * @throws IOException if there is no such file, or it may not be read
   */
  static List<PromptRow> read(Path file) throws IOException {
    List<String> lines = lines(file);
    var rows = new ArrayList<PromptRow>();
    for (int i = 0; i < lines.size(); i++) {
      if (!lines.get(i).isBlank()) {
        String where = "%s line %d".formatted(file, i + 1);
        try {
          rows.add(parse(where, lines.get(i)));
        } catch (IllegalArgumentException e) {
          throw new IllegalArgumentException("%s: %s".formatted(where, e.getMessage()), e);
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

  private static List<String> lines(Path file) throws IOException {
    if (Files.isDirectory(file)) {
      throw new IllegalArgumentException(
          "--prompts %s is a folder; give a file with one JSON object a line".formatted(file));
    }
    byte[] bytes = Files.readAllBytes(file);
    try {
      String text = UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      // Some editors of Windows begin a file with this mark.
      return (text.startsWith("\uFEFF") ? text.substring(1) : text).lines().toList();
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException(
          "%s line %d is not UTF-8; save the file as UTF-8".formatted(file, broken(bytes)), e);
    }
  }

  /** The first line that can not be decoded, from 1. */
  private static int broken(byte[] bytes) {
    var decoded = CharBuffer.allocate(bytes.length);
    var _ = UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes), decoded, true);
    return 1 + (int) decoded.flip().chars().filter(c -> c == '\n').count();
  }

  private static PromptRow parse(String where, String line) {
    JsonNode node;
    try {
      node = JsonMapper.shared().readTree(line);
    } catch (JacksonException e) {
      throw new IllegalArgumentException(
          "is not a JSON object: %s".formatted(e.getOriginalMessage()), e);
    }
    if (!node.isObject()) {
      throw new IllegalArgumentException(
          "is %s but a JSON object is expected, such as {\"prompt\": \"Hello\"}".formatted(node));
    }
    Map<?, ?> fields = JsonMapper.shared().convertValue(node, Map.class);
    Object adapter = fields.get("adapter");
    String name = adapter == null ? null : adapter.toString();
    if (fields.get("prompt") instanceof String text && fields.get("messages") == null) {
      return new PromptRow(where, text, List.of(), name);
    }
    if (fields.get("prompt") == null && fields.get("messages") != null) {
      return new PromptRow(where, null, Message.listFrom(fields.get("messages")), name);
    }
    throw new IllegalArgumentException(
        "has the fields %s but needs prompt, a text, or messages, a conversation"
            .formatted(fields.keySet()));
  }
}
