package espalier.training;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import espalier.text.Message;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPOutputStream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

final class DatasetTest {

  @TempDir private Path folder;

  private Path file(String name, String content) throws IOException {
    Path file = folder.resolve(name);
    Files.createDirectories(file.getParent());
    return Files.writeString(file, content);
  }

  private List<Row> read(String name, String content) throws IOException {
    return Dataset.read(file(name, content), null);
  }

  /** Errors name the file as it was given: here with the test's folder, which is cut off. */
  private void assertRefused(ThrowingCallable reading, String message) {
    assertThatThrownBy(reading)
        .isInstanceOf(DataException.class)
        .satisfies(
            e -> assertThat(e.toString().replace(folder + "/", "")).endsWith(": " + message));
  }

  private void assertRefused(String name, String content, String message) {
    assertRefused(() -> read(name, content), message);
  }

  private void parquet(String name, String select) throws SQLException {
    try (var connection = DriverManager.getConnection("jdbc:duckdb:");
        var statement = connection.createStatement()) {
      statement.execute(
          "copy (%s) to '%s' (format parquet)".formatted(select, folder.resolve(name)));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"marked.jsonl", "marked.jsonl.gz"})
  void lines_that_begin_with_a_byte_order_mark_are_read(String name) throws IOException {
    String text = "\uFEFF{\"text\": \"elm, \\\"oak\\\"\"}\n\n{\"text\": \"null\"}\n";
    try (OutputStream out = Files.newOutputStream(folder.resolve(name));
        OutputStream packed = name.endsWith(".gz") ? new GZIPOutputStream(out) : out) {
      packed.write(text.getBytes(UTF_8));
    }

    List<Row> rows = Dataset.read(folder.resolve(name), null);

    assertThat(rows)
        .extracting(row -> ((TextRow) row).text())
        .containsExactly("elm, \"oak\"", "null");
  }

  /** Writes lines, none of them with the characters 1 and 2, packed by zstd. */
  private void packed(String name, String... lines) throws SQLException {
    try (var connection = DriverManager.getConnection("jdbc:duckdb:");
        var statement =
            connection.prepareStatement(
                "copy (select unnest(?::varchar[])) to '%s' (format csv, header false, delim '\1', quote '\2', escape '\2', compression zstd)"
                    .formatted(folder.resolve(name)))) {
      statement.setArray(1, connection.createArrayOf("VARCHAR", lines));
      statement.execute();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "\uFEFF"})
  void lines_packed_by_zstd_are_read_with_and_without_a_byte_order_mark(String mark)
      throws SQLException {
    packed("a.jsonl.zst", mark + "{\"text\": \"elm, \\\"oak\\\"\"}", " ", "{\"text\": \"null\"}");

    List<Row> rows = Dataset.read(folder.resolve("a.jsonl.zst"), null);

    assertThat(rows)
        .extracting(row -> ((TextRow) row).text())
        .containsExactly("elm, \"oak\"", "null");
  }

  @Test
  void a_broken_line_packed_by_zstd_is_named() throws SQLException {
    packed("a.jsonl.zst", "{\"text\": \"elm\"}", "{\"text\"");

    assertThatThrownBy(() -> Dataset.read(folder.resolve("a.jsonl.zst"), null))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("a.jsonl.zst row 2 is not JSON that can be read");
  }

  @Test
  void a_broken_line_of_a_file_with_a_byte_order_mark_is_named() {
    assertRefused(
        "marked.jsonl",
        "\uFEFF{\"text\": \"elm\"}\n{\"text\"\n",
        "marked.jsonl row 2 is not JSON that can be read: Unexpected end-of-input within/between"
            + " Object entries");
  }

  @Test
  void messages_are_read_in_order_with_their_extra_fields() throws IOException {
    List<Row> rows =
        read(
            "a.jsonl",
            """
            {"messages": [{"role": "user", "content": "Hä?\\n"}, {"role": "assistant", "content": "ok"}]}

            {"id": 7, "messages": [{"role": "tool", "content": "3", "tool_call_id": "x", "name": null}]}
            """);

    assertThat(rows)
        .containsExactly(
            new MessagesRow(
                List.of(Message.user("Hä?\n"), Message.assistant("ok")),
                List.of(),
                new RowSource(folder.resolve("a.jsonl"), 1)),
            new MessagesRow(
                List.of(new Message("tool", "3", Map.of("tool_call_id", "x"))),
                List.of(),
                new RowSource(folder.resolve("a.jsonl"), 2)));
  }

  @Test
  void a_tool_call_needs_no_content_and_tools_come_along() throws IOException {
    List<Row> rows =
        read(
            "a.jsonl",
            """
            {"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "x", "n": null}]}], "tools": [{"name": "f"}]}
            """);

    assertThat(rows)
        .first()
        .isEqualTo(
            new MessagesRow(
                List.of(
                    new Message("assistant", "", Map.of("tool_calls", List.of(Map.of("id", "x"))))),
                List.of(Map.of("name", "f")),
                new RowSource(folder.resolve("a.jsonl"), 1)));
  }

  @Test
  void conversations_of_from_and_value_become_messages() throws IOException {
    List<Row> rows =
        read(
            "a.json",
            """
            [{"system": "Be short.",
              "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]
            """);

    assertThat(((MessagesRow) rows.getFirst()).messages())
        .containsExactly(Message.system("Be short."), Message.user("q"), Message.assistant("a"));
  }

  @Test
  void content_in_text_parts_is_joined() throws IOException {
    List<Row> rows =
        read(
            "a.jsonl",
            """
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]}
            """);

    assertThat(((MessagesRow) rows.getFirst()).messages()).containsExactly(Message.user("ab"));
  }

  @Test
  void an_instruction_is_followed_by_its_input() throws IOException {
    List<Row> rows =
        read(
            "a.jsonl",
            """
            {"instruction": "Add.", "input": "1 2", "output": "3"}
            {"instruction": "Say hi.", "input": "", "output": "hi"}
            """);

    assertThat(rows)
        .extracting(row -> ((PromptCompletionRow) row).prompt())
        .containsExactly("Add.\n\n1 2", "Say hi.");
  }

  @Test
  void texts_are_read() throws IOException {
    assertThat(read("a.ndjson", "{\"text\": \"x\"}\n{\"text\": \"\"}"))
        .extracting(row -> ((TextRow) row).text())
        .containsExactly("x", "");
  }

  @Test
  void tokens_are_read_with_and_without_labels() throws IOException {
    List<Row> rows =
        read(
            "a.jsonl",
            """
            {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]}
            {"input_ids": [4]}
            """);

    assertThat(rows)
        .containsExactly(
            new TokensRow(
                new int[] {1, 2, 3},
                new int[] {-100, 2, 3},
                new RowSource(folder.resolve("a.jsonl"), 1)),
            new TokensRow(new int[] {4}, null, new RowSource(folder.resolve("a.jsonl"), 2)));
  }

  @Test
  void parquet_is_read_without_the_nulls_that_it_puts_in() throws SQLException {
    parquet(
        "a.parquet",
        """
        select * from (values
          (1, [{'role': 'user', 'content': 'q', 'name': null}], current_timestamp),
          (2, [{'role': 'user', 'content': 'r', 'name': 'Z'}], current_timestamp))
          as t(id, messages, "odd ""column")
        """);

    List<Row> rows = Dataset.read(folder.resolve("a.parquet"), null);

    assertThat(rows)
        .flatExtracting(row -> ((MessagesRow) row).messages())
        .containsExactly(Message.user("q"), new Message("user", "r", Map.of("name", "Z")));
  }

  @Test
  void parquet_tokens_are_read() throws SQLException {
    parquet("a.parquet", "select [1, 2]::bigint[] as input_ids, [-100, 2]::int[] as labels");

    assertThat(Dataset.read(folder.resolve("a.parquet"), null))
        .containsExactly(
            new TokensRow(
                new int[] {1, 2},
                new int[] {-100, 2},
                new RowSource(folder.resolve("a.parquet"), 1)));
  }

  @Test
  void csv_stays_text_whatever_it_looks_like() throws IOException {
    List<Row> rows =
        read(
            "a.csv",
            """
            prompt,completion
            "a, b
            ""q\""",c
            #x,007
            NULL,2026-01-01
            """);

    assertThat(rows)
        .extracting(
            row -> ((PromptCompletionRow) row).prompt(),
            row -> ((PromptCompletionRow) row).completion())
        .containsExactly(
            tuple("a, b\n\"q\"", "c"), tuple("#x", "007"), tuple("NULL", "2026-01-01"));
  }

  @ParameterizedTest
  @CsvSource({"a.csv, 59", "a.tsv, 9", "a.csv, 9"})
  void other_delimiters_are_seen_in_the_header(String name, int delimiter) throws IOException {
    List<Row> rows = read(name, "prompt_completion\nx_y\n".replace('_', (char) delimiter));

    assertThat(rows).extracting(row -> ((PromptCompletionRow) row).completion()).contains("y");
  }

  @Test
  void a_byte_order_mark_and_windows_line_ends_do_no_harm() throws IOException {
    List<Row> rows = read("a.csv", "\ufefftext\r\nhello\r\n\r\nworld\r\n");

    assertThat(rows).extracting(row -> ((TextRow) row).text()).containsExactly("hello", "world");
  }

  @Test
  void lists_that_csv_holds_as_json_are_read() throws IOException {
    assertThat(read("a.csv", "input_ids\n\"[5, 6]\"\n"))
        .containsExactly(
            new TokensRow(new int[] {5, 6}, null, new RowSource(folder.resolve("a.csv"), 1)));
  }

  @Test
  void compressed_files_are_read() throws IOException {
    Path file = folder.resolve("a.jsonl.gz");
    try (var out = new GZIPOutputStream(Files.newOutputStream(file))) {
      out.write("{\"text\": \"x\"}\n".getBytes(ISO_8859_1));
    }

    assertThat(Dataset.read(file, null)).hasSize(1);
  }

  @Test
  void a_json_file_may_hold_lines_or_a_list_or_objects_over_several_lines() throws IOException {
    assertThat(read("a.json", "{\"text\": \"x\"}\n{\"text\": \"y\"}\n")).hasSize(2);
    assertThat(read("b.json", "[{\"text\": \"x\"},\n{\"text\": \"y\"}]")).hasSize(2);
    assertThat(read("c.json", "{\n\"text\": \"x\"\n}\n{\n\"text\": \"y\"\n}")).hasSize(2);
  }

  @Test
  void globs_are_taken_in_the_order_of_names_and_each_file_once() throws IOException {
    file("b.jsonl", "{\"text\": \"b\"}");
    file("a.jsonl", "{\"text\": \"a\"}");
    file("sub/c.jsonl", "{\"prompt\": \"p\", \"completion\": \"c\"}");

    List<Row> rows = Dataset.read(List.of(folder + "/*.jsonl", folder + "/**/*.jsonl"), null);

    assertThat(rows)
        .extracting(row -> row.source().file().getFileName().toString())
        .containsExactly("a.jsonl", "b.jsonl", "c.jsonl");
  }

  @Test
  void names_that_look_like_patterns_or_sql_are_only_names() throws IOException {
    file("lang=de/data[1]*'); drop.jsonl", "{\"text\": \"right\"}");
    file("lang=de/data1.jsonl", "{\"text\": \"wrong\"}");

    List<Row> rows = Dataset.read(folder.resolve("lang=de/data[1]*'); drop.jsonl"), null);

    assertThat(rows).extracting(row -> ((TextRow) row).text()).containsExactly("right");
  }

  @Test
  void a_link_is_followed() throws IOException {
    Path target = file("real/a.jsonl", "{\"text\": \"x\"}");
    Path link = Files.createSymbolicLink(folder.resolve("b.jsonl"), target);

    assertThat(Dataset.read(link, null)).hasSize(1);
  }

  @Test
  void ten_thousand_rows_keep_their_order() throws IOException {
    var lines = new StringBuilder();
    for (int i = 0; i < 10_000; i++) {
      lines.append("{\"text\": \"").append(i).append("\"}\n");
    }

    List<Row> rows = read("a.jsonl", lines.toString());

    assertThat(rows).hasSize(10_000);
    assertThat(rows)
        .allSatisfy(
            row ->
                assertThat(((TextRow) row).text())
                    .isEqualTo(Long.toString(row.source().number() - 1)));
  }

  @Test
  void the_format_may_be_said_where_several_fit() throws IOException {
    Path file = file("a.jsonl", "{\"messages\": [], \"text\": \"x\"}");

    assertThat(Dataset.read(file, DataFormat.TEXT)).hasOnlyElementsOfType(TextRow.class);
  }

  @Test
  void a_row_without_messages_is_refused_with_its_number() {
    assertRefused(
        "a.jsonl",
        """
        {"messages": [{"role": "user", "content": "q"}]}
        {"messages": null, "id": 3}
        """,
        "a.jsonl row 2 has no messages; expected a list such as [{\"role\": \"user\", \"content\":"
            + " \"...\"}, ...], and the row has id");
  }

  @Test
  void malformed_json_is_refused_with_its_line() {
    assertRefused(
        "a.jsonl",
        "{\"text\": \"x\"}\n\n{\"text\": \n{\"text\": \"y\"}\n",
        "a.jsonl line 3 is not JSON: Unexpected end-of-input within/between Object entries; mend"
            + " the line or take it out");
  }

  @Test
  void a_list_that_breaks_off_is_refused_with_its_line() {
    assertThatThrownBy(() -> read("a.json", "[{\"text\": \"x\"},\n{\"text\": [1}\n]"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("a.json line 2 is not JSON");
  }

  @Test
  void text_that_is_not_utf_8_is_refused() throws IOException {
    Path file = Files.write(folder.resolve("a.jsonl"), "{\"text\": \"é\"}".getBytes(ISO_8859_1));

    assertThatThrownBy(() -> Dataset.read(file, null))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("a.jsonl line 1 is not JSON: Invalid UTF-8");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "c | Expected Number of Columns: 2 Found: 1 in 'c'",
        "c,d,e | Expected Number of Columns: 2 Found: 3 in 'c,d,e'",
        "\"c,d | Value with unterminated quote found. in '\"c,d'"
      })
  void a_faulty_csv_line_is_named(String line, String fault) {
    assertRefused(
        "a.csv",
        "prompt,completion\na,b\n" + line + "\n",
        ("a.csv line 3 is not as its header says: %s; quote values that hold a comma, a quote or a"
                + " line end, and write UTF-8")
            .formatted(fault));
  }

  @Test
  void an_empty_csv_value_is_missing() {
    assertRefused(
        "a.csv",
        "prompt,completion\na,\n",
        "a.csv row 1 has no completion or output or response; expected text there, and the row has"
            + " prompt");
  }

  @Test
  void csv_columns_that_nothing_knows_are_listed() {
    assertRefused(
        "a.csv",
        "question,answer\na,b\n",
        "a.csv has the columns question, answer, but expected are messages; or conversations; or"
            + " prompt and completion; or instruction and output; or input_ids; or text; rename the"
            + " columns");
  }

  @Test
  void two_columns_of_one_name_are_refused() {
    assertRefused(
        "a.csv",
        "text,text\na,b\n",
        "a.csv has two columns text, but each name is expected once; rename one");
  }

  @Test
  void what_is_no_parquet_is_refused() {
    assertThatThrownBy(() -> read("a.parquet", "nope, this is not a Parquet file at all"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("a.parquet is not a whole Parquet file: ")
        .hasMessageEndingWith("; write or download it anew");
  }

  @Test
  void empty_data_is_refused() throws IOException {
    String fault = "no rows, but one or more are needed; is this the right file?";

    assertRefused("a.jsonl", "", "a.jsonl: " + fault);
    assertRefused("b.json", "[]", "b.json: " + fault);
    assertRefused("c.csv", "text\n", "c.csv: " + fault);
    assertRefused("d.csv", "", "d.csv: " + fault);
  }

  @Test
  void a_pattern_without_a_file_is_refused() {
    assertThatThrownBy(() -> Dataset.read(List.of("nothing/*.jsonl"), null))
        .hasMessage(
            "data nothing/*.jsonl matches no file in %s; check the name, or give the whole path"
                .formatted(Path.of("").toAbsolutePath()));
  }

  @Test
  void what_is_no_data_file_is_refused() throws IOException {
    file("sub/x.jsonl", "");

    assertRefused(
        "a.xlsx",
        "x",
        "a.xlsx is of no known kind, but data is .jsonl, .json, .csv, .tsv (also with .gz or .zst)"
            + " or .parquet; rename or convert it");
    assertRefused(
        () -> Dataset.read(folder.resolve("sub"), null),
        "data sub is a folder, but files are expected; name them, as sub/*.jsonl does");
    assertRefused(
        () -> Dataset.read(List.of("s3://bucket/a.jsonl"), null),
        "data s3://bucket/a.jsonl is an address, but only files are read; download it and name the"
            + " file");
    assertRefused(
        () -> Dataset.read(List.of(), null),
        "no data is named; give one file or pattern, such as train.jsonl");
  }

  @Test
  void an_unknown_format_is_refused_with_the_known_ones() {
    assertThat(DataFormat.of("prompt-completion")).isEqualTo(DataFormat.PROMPT_COMPLETION);
    assertThatThrownBy(() -> DataFormat.of("chat"))
        .hasMessage(
            "format is chat but the known ones are messages, prompt-completion, text, tokens; leave"
                + " it out to have it found");
  }
}
