package espalier.training;

import java.nio.file.Path;
import java.sql.SQLException;
import java.util.Collection;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Says what is wrong with a data file, in place of what DuckDB says about it. */
final class DataFaults {

  private static final Pattern CSV_FAULT =
      Pattern.compile(
          "CSV Error on Line: (?<line>\\d+)\\R(?:Original Line: (?<text>.*?)\\R)?"
              + "\\s*(?<fault>(?:Expected|Value|Invalid|Maximum)\\V*)",
          Pattern.DOTALL);

  private DataFaults() {}

  static DataException unknownColumns(String where, Collection<String> columns) {
    return new DataException(
        "%s has the columns %s, but expected are %s; rename the columns"
            .formatted(where, String.join(", ", columns), DataFormat.EXPECTED));
  }

  static DataException explain(Path file, FileType type, SQLException e) {
    return switch (type) {
      case JSON_LINES, JSON -> MalformedJson.explain(file, type, e);
      case CSV, TSV -> malformedCsv(file, e);
      case PARQUET ->
          new DataException(
              "%s is not a whole Parquet file: %s; write or download it anew"
                  .formatted(file, firstLine(e)),
              e);
    };
  }

  private static DataException malformedCsv(Path file, SQLException e) {
    Matcher fault = CSV_FAULT.matcher(e.getMessage());
    if (!fault.find()) {
      return new DataException("%s cannot be read as CSV: %s".formatted(file, firstLine(e)), e);
    }
    String text = fault.group("text");
    return new DataException(
        "%s line %s is not as its header says: %s%s; quote values that hold a comma, a quote or a line end, and write UTF-8"
            .formatted(
                file,
                fault.group("line"),
                fault.group("fault"),
                text == null ? "" : " in '" + shortened(text) + "'"),
        e);
  }

  /** DuckDB's own words: the first line, without its class of errors and its path. */
  static String firstLine(SQLException e) {
    String message = String.valueOf(e.getMessage());
    String line = message.lines().findFirst().orElse("");
    return line.replaceFirst("^[A-Z][A-Za-z ]* Error: ", "").strip();
  }

  static String shortened(String text) {
    String line = text.strip().replace('\n', ' ').replace('\r', ' ');
    return line.length() <= 60 ? line : line.substring(0, 57) + "...";
  }
}
