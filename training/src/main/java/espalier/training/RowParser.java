package espalier.training;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Makes rows of the JSON texts of one file. */
final class RowParser {

  private final Path file;
  private @Nullable DataFormat format;

  /**
   * A parser for one file.
   *
   * @param format what the rows hold; null to find it out from the first row
   */
  RowParser(Path file, @Nullable DataFormat format) {
    this.file = file;
    this.format = format;
  }

  Row parse(long number, String json) {
    var source = new RowSource(file, number);
    JsonNode node = read(source, json);
    if (!node.isObject()) {
      throw new DataException(
          "%s is %s, but an object with named columns is expected, such as {\"text\": \"...\"}"
              .formatted(source, Fields.describe(node)));
    }
    var fields = new Fields(node, source);
    if (format == null) {
      format =
          DataFormat.found(fields.names())
              .orElseThrow(() -> DataFaults.unknownColumns(source.toString(), fields.names()));
    }
    return switch (format) {
      case MESSAGES -> MessagesParser.parse(fields);
      case PROMPT_COMPLETION -> promptCompletion(fields);
      case TEXT -> new TextRow(fields.text("text"), source);
      case TOKENS -> TokensParser.parse(fields);
    };
  }

  private static PromptCompletionRow promptCompletion(Fields fields) {
    String prompt = fields.text("prompt", "instruction");
    // Alpaca's third column: what the instruction is about, often empty.
    String input = fields.optionalText("input");
    if (!input.isEmpty()) {
      prompt = prompt + "\n\n" + input;
    }
    return new PromptCompletionRow(
        prompt, fields.text("completion", "output", "response"), fields.source());
  }

  private static JsonNode read(RowSource source, String json) {
    try {
      return JsonMapper.shared().readTree(json);
    } catch (JacksonException e) {
      throw new DataException(
          "%s is not JSON that can be read: %s"
              .formatted(source, DataFaults.shortened(e.getOriginalMessage())),
          e);
    }
  }
}
