package espalier.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Model.CommandSpec;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Where a command writes: results to standard output, all else to standard error. */
record Output(PrintWriter results, PrintWriter notes) {

  /** The streams of a command. */
  static Output of(CommandSpec spec) {
    return new Output(spec.commandLine().getOut(), spec.commandLine().getErr());
  }

  /** Writes a line of the result. */
  void line(String text) {
    results.println(text);
    results.flush();
  }

  /** Writes a part of the result at once, without a line end. */
  void piece(String text) {
    results.print(text);
    results.flush();
  }

  /** Tells a person something that is not the result. */
  void note(String text) {
    notes.println(text);
    notes.flush();
  }

  /** Writes a value as one line of JSON. */
  void json(JsonNode value) {
    line(value.toString());
  }

  /** An empty row for {@link #table}. */
  static ObjectNode row() {
    return JsonMapper.shared().createObjectNode();
  }

  /**
   * Writes rows as a table for people, or as one line of JSON each.
   *
   * @param rows flat objects; the columns are all their fields in order of first appearance
   */
  void table(Collection<ObjectNode> rows, boolean json) {
    if (json) {
      rows.forEach(this::json);
      return;
    }
    var columns = new LinkedHashSet<String>();
    rows.forEach(row -> columns.addAll(row.propertyNames()));
    var lines = new ArrayList<List<String>>();
    lines.add(columns.stream().map(name -> name.replace('_', ' ')).toList());
    rows.forEach(row -> lines.add(columns.stream().map(c -> shown(row.path(c))).toList()));
    int[] widths = new int[columns.size()];
    lines.forEach(
        cells -> {
          for (int i = 0; i < widths.length; i++) {
            widths[i] = Math.max(widths[i], cells.get(i).length());
          }
        });
    lines.forEach(cells -> line(aligned(cells, widths)));
  }

  private static String aligned(List<String> cells, int[] widths) {
    var text = new StringBuilder();
    for (int i = 0; i < widths.length; i++) {
      text.append(cells.get(i)).repeat(' ', widths[i] - cells.get(i).length() + 2);
    }
    return text.toString().stripTrailing();
  }

  private static String shown(JsonNode value) {
    if (value.isMissingNode() || value.isNull()) {
      return "";
    }
    if (value.isFloatingPointNumber()) {
      double number = value.asDouble();
      boolean large = Math.abs(number) >= 1e4 && Math.abs(number) < 1e9;
      return String.format(Locale.ROOT, large ? "%.0f" : "%.4g", number);
    }
    return value.isValueNode() ? value.asString() : value.toString();
  }
}
