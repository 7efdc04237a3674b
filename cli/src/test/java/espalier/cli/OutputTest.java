package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.node.ObjectNode;

class OutputTest {

  private final StringWriter results = new StringWriter();
  private final Output output =
      new Output(new PrintWriter(results), new PrintWriter(new StringWriter()));
  private final List<ObjectNode> rows =
      List.of(
          Output.row().put("name", "a").put("eval_loss", 1.23456),
          Output.row().put("name", "longer"));

  @Test
  void a_table_has_aligned_columns() {
    output.table(rows, false);

    assertThat(results.toString())
        .isEqualToNormalizingNewlines("name    eval loss\na       1.235\nlonger\n");
  }

  @Test
  void as_json_each_row_is_a_line_with_full_numbers() {
    output.table(rows, true);

    assertThat(results.toString())
        .isEqualToNormalizingNewlines(
            "{\"name\":\"a\",\"eval_loss\":1.23456}\n{\"name\":\"longer\"}\n");
  }
}
