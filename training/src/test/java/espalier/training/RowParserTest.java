package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class RowParserTest {

  private static Row parse(String row) {
    return new RowParser(Path.of("a.jsonl"), null).parse(1, row);
  }

  private static void assertRefused(String row, String message) {
    assertThatThrownBy(() -> parse(row)).isInstanceOf(DataException.class).hasMessage(message);
  }

  @ParameterizedTest
  @CsvSource({"prompt, completion", "instruction, output", "instruction, response"})
  void pairs_are_known_by_their_usual_names(String prompt, String completion) {
    Row row = parse("{\"%s\": \"p\", \"%s\": \"c\"}".formatted(prompt, completion));

    assertThat(row)
        .isEqualTo(new PromptCompletionRow("p", "c", new RowSource(Path.of("a.jsonl"), 1)));
  }

  @Test
  void the_format_found_in_the_first_row_holds_for_the_others() {
    var parser = new RowParser(Path.of("a.jsonl"), null);
    parser.parse(1, "{\"text\": \"x\"}");

    assertThatThrownBy(() -> parser.parse(2, "{\"messages\": []}"))
        .hasMessage("a.jsonl row 2 has no text; expected text there, and the row has messages");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"role\": \"user\"} | has no content; expected text, which may be \"\"",
        "{\"role\": \"user\", \"content\": null} | has no content; expected text, which may be"
            + " \"\"",
        "{\"role\": \"user\", \"content\": 5} | has the number 5 as content, but text is expected",
        "{\"content\": \"q\"} | has no role; expected role and content, or from and value, and the"
            + " message has content",
        "\"hi\" | is the text 'hi', but an object with role and content is expected",
        "{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]} | has a part of type"
            + " image_url in its content, but only text is trained; leave the part out",
        "{\"role\": \"user\", \"content\": \"q\", \"weight\": 0} | has weight 0, but every message"
            + " of the assistant is trained alike; leave weight out"
      })
  void a_faulty_message_is_refused_with_its_place(String message, String fault) {
    assertRefused(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, %s]}".formatted(message),
        "a.jsonl row 1, message 2, " + fault);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"prompt\": \"p\", \"completion\": null} | has no completion or output or response;"
            + " expected text there, and the row has prompt",
        "{\"prompt\": [1], \"completion\": \"c\"} | has a list in prompt, but text is expected",
        "{\"text\": 5} | has the number 5 in text, but text is expected",
        "{\"messages\": \"hi\"} | has the text 'hi' in messages, but a list is expected",
        "{\"input_ids\": []} | has no input_ids; expected a list of token ids, and the row has an"
            + " empty list",
        "{\"input_ids\": [1, 2.5]} | has the number 2.5 at place 1 of input_ids, but whole numbers"
            + " from 0 on are expected",
        "{\"input_ids\": [1, 99999999999]} | has the number 99999999999 at place 1 of input_ids,"
            + " but whole numbers from 0 on are expected",
        "{\"input_ids\": [1, 2], \"labels\": [1]} | has 1 labels for 2 ids, but one for each is"
            + " expected; use -100 where nothing is learned",
        "{\"input_ids\": [1, 2], \"labels\": [2, -100]} | has the label 2 at place 0 where the id"
            + " is 1, but a label is the id at its own place (not shifted) or -100",
        "{\"input_ids\": [1, 0], \"attention_mask\": [1, 0]} | has padding (a 0 in attention_mask),"
            + " but rows are expected without; give the ids that count",
        "7 | is the number 7, but an object with named columns is expected, such as {\"text\":"
            + " \"...\"}",
        "{\"question\": \"q\", \"answer\": \"a\"} | has the columns question, answer, but expected"
            + " are messages; or conversations; or prompt and completion; or instruction and"
            + " output; or input_ids; or text; rename the columns"
      })
  void a_faulty_row_is_refused(String row, String fault) {
    assertRefused(row, "a.jsonl row 1 " + fault);
  }
}
