package espalier.training;

import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The first line of a CSV file, and with it how to read the rest.
 *
 * <p>DuckDB can guess all this, but a guess takes a faulty file for one of another kind: a row too
 * short makes it read whole lines as one column. Told the columns, it names the faulty line.
 *
 * @param columns their names, in order
 */
record CsvHeader(char delimiter, Set<String> columns) {

  private static final int LONGEST_LINE = 64 << 20; // bytes; DuckDB's own limit is 2 MB

  /**
   * The query for the lines of a file: one column of the given name, split at a character that no
   * text has.
   */
  private static final String LINES =
      """
      select %%1$s from read_csv(?, columns = {'%%1$s': 'VARCHAR'}, auto_detect = false,
        header = false, delim = chr(1), quote = '', escape = '', max_line_size = %d,
        hive_partitioning = false)
      """
          .formatted(LONGEST_LINE);

  /** The query for the first line. */
  static final String FIRST_LINE = lines("line") + " limit 1";

  /** The query for the lines, as a table of one column of this name. */
  static String lines(String column) {
    return LINES.formatted(column);
  }

  static CsvHeader of(Path file, FileType type, String line) {
    char delimiter = type == FileType.TSV ? '\t' : delimiter(line);
    var columns = new LinkedHashSet<String>();
    int number = 0;
    for (String field : line.split(String.valueOf(delimiter), -1)) {
      number++;
      String name = unquoted(field.strip());
      if (!columns.add(name.isEmpty() ? "column " + number : name)) {
        throw new DataException(
            "%s has two columns %s, but each name is expected once; rename one"
                .formatted(file, name));
      }
    }
    return new CsvHeader(delimiter, columns);
  }

  /** The table function that reads the file, with the file itself as its parameter. */
  String source() {
    String types =
        columns.stream()
            .map(column -> "'%s': 'VARCHAR'".formatted(column.replace("'", "''")))
            .collect(Collectors.joining(", ", "{", "}"));
    // A blank line reads as a row of nulls where there is one column; no row is all null otherwise.
    String some =
        columns.stream()
            .map(column -> "\"%s\" is not null".formatted(column.replace("\"", "\"\"")))
            .collect(Collectors.joining(" or "));
    return """
    (select * from read_csv(?, columns = %s, auto_detect = false, header = true, delim = '%s',
      quote = '"', escape = '"', comment = '', max_line_size = %d, hive_partitioning = false)
      where %s)
    """
        .formatted(types, delimiter, LONGEST_LINE, some);
  }

  /** A comma where there is one; else what spreadsheets of other countries write. */
  private static char delimiter(String line) {
    for (char candidate : new char[] {',', ';', '\t'}) {
      if (line.indexOf(candidate) >= 0) {
        return candidate;
      }
    }
    return ',';
  }

  private static String unquoted(String field) {
    boolean quoted = field.length() > 1 && field.startsWith("\"") && field.endsWith("\"");
    return quoted ? field.substring(1, field.length() - 1).replace("\"\"", "\"") : field;
  }
}
