package espalier.training;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Rows of data files as JSON texts, read by an in-memory DuckDB that can reach the named files and
 * nothing else.
 */
final class DuckDb implements AutoCloseable {

  /** JSON Lines as a table of lines: DuckDB takes a byte order mark away from CSV only. */
  private static final String MARKED_LINES =
      "(%s) where trim(json) <> ''".formatted(CsvHeader.lines("json"));

  /** Takes the rows of a file. */
  interface RowTaker {

    /**
     * Takes a row.
     *
     * @param number from 1
     * @param json the row, mostly an object
     */
    void take(long number, String json);
  }

  private static final byte[] BYTE_ORDER_MARK = {(byte) 0xEF, (byte) 0xBB, (byte) 0xBF};

  private final Connection connection;

  private DuckDb(Connection connection) {
    this.connection = connection;
  }

  static DuckDb open() {
    var settings = new Properties();
    settings.setProperty("threads", "2"); // libtorch owns the rest of the machine
    settings.setProperty("preserve_insertion_order", "true");
    settings.setProperty("autoinstall_known_extensions", "false");
    settings.setProperty("autoload_known_extensions", "false");
    settings.setProperty("allow_community_extensions", "false");
    try {
      return new DuckDb(DriverManager.getConnection("jdbc:duckdb:", settings));
    } catch (SQLException e) {
      throw new DataException(
          "the data reader (DuckDB) does not start: %s; it unpacks a library to %s, which must be writable"
              .formatted(DataFaults.firstLine(e), System.getProperty("java.io.tmpdir")),
          e);
    }
  }

  /** The files that match {@code pattern}, in the order of their names. */
  List<Path> glob(String pattern) {
    try (PreparedStatement query =
        connection.prepareStatement("select file from glob(?) order by file")) {
      query.setString(1, pattern);
      var files = new ArrayList<Path>();
      try (ResultSet found = query.executeQuery()) {
        while (found.next()) {
          files.add(Path.of(found.getString(1)));
        }
      }
      return files;
    } catch (SQLException e) {
      throw new DataException(
          "data %s cannot be searched for: %s; name the files"
              .formatted(pattern, DataFaults.firstLine(e)),
          e);
    }
  }

  /** From here on nothing but {@code files} can be opened, and this cannot be undone. */
  void allowOnly(List<Path> files) {
    String list =
        files.stream()
            .map(file -> "'" + real(file).replace("'", "''") + "'")
            .collect(Collectors.joining(", ", "[", "]"));
    try (Statement statement = connection.createStatement()) {
      statement.execute("set allowed_paths = " + list);
      statement.execute("set enable_external_access = false");
      statement.execute("set lock_configuration = true");
    } catch (SQLException e) {
      throw new DataException(
          "the data reader (DuckDB) cannot be confined to the data: " + DataFaults.firstLine(e), e);
    }
  }

  /** Reads {@code file} from its first row to its last. */
  void read(Path file, RowTaker rows) {
    FileType type = FileType.of(file);
    try {
      switch (type) {
        case JSON_LINES ->
            query("json", mayBeMarked(file) ? MARKED_LINES : "read_ndjson_objects(?)", file, rows);
        case JSON -> query("json", "read_json_objects(?, format = 'auto')", file, rows);
        case CSV, TSV -> {
          Optional<String> header = firstLine(file);
          if (header.isPresent()) { // else the file is empty, and so has no rows
            CsvHeader csv = CsvHeader.of(file, type, header.get());
            table(csv.source(), csv.columns(), file, rows);
          }
        }
        case PARQUET -> {
          String source = "read_parquet(?, hive_partitioning = false)";
          table(source, columns(source, file), file, rows);
        }
      }
    } catch (SQLException e) {
      throw DataFaults.explain(file, type, e);
    }
  }

  /** Reads those columns of a table that a format may need, as one JSON object a row. */
  private void table(String source, Set<String> columns, Path file, RowTaker rows)
      throws SQLException {
    if (DataFormat.found(columns).isEmpty()) {
      throw DataFaults.unknownColumns(file.toString(), columns);
    }
    String wanted =
        columns.stream()
            .filter(DataFormat.COLUMNS::contains)
            .map(column -> "'%s': \"%s\"".formatted(column, column))
            .collect(Collectors.joining(", ", "{", "}"));
    query("to_json(" + wanted + ")", source, file, rows);
  }

  private void query(String json, String source, Path file, RowTaker rows) throws SQLException {
    String sql = "select %s::varchar from %s".formatted(json, source);
    try (PreparedStatement query = connection.prepareStatement(sql)) {
      query.setString(1, real(file));
      try (ResultSet result = query.executeQuery()) {
        for (long number = 1; result.next(); number++) {
          rows.take(number, result.getString(1));
        }
      }
    }
  }

  /** Whether a file begins with a byte order mark; a .zst, which only DuckDB unpacks, may. */
  private static boolean mayBeMarked(Path file) {
    if (file.toString().toLowerCase(Locale.ROOT).endsWith(".zst")) {
      return true;
    }
    try (InputStream in = MalformedJson.open(file)) {
      return Arrays.equals(in.readNBytes(BYTE_ORDER_MARK.length), BYTE_ORDER_MARK);
    } catch (IOException _) {
      return false; // the reader says what is wrong with it
    }
  }

  private Set<String> columns(String source, Path file) throws SQLException {
    try (PreparedStatement query =
        connection.prepareStatement("describe select * from " + source)) {
      query.setString(1, real(file));
      var names = new LinkedHashSet<String>();
      try (ResultSet result = query.executeQuery()) {
        while (result.next()) {
          names.add(result.getString(1));
        }
      }
      return names;
    }
  }

  private Optional<String> firstLine(Path file) throws SQLException {
    try (PreparedStatement query = connection.prepareStatement(CsvHeader.FIRST_LINE)) {
      query.setString(1, real(file));
      try (ResultSet result = query.executeQuery()) {
        return result.next() ? Optional.ofNullable(result.getString(1)) : Optional.empty();
      }
    }
  }

  /** The path without links, as DuckDB compares it with the allowed ones. */
  private static String real(Path file) {
    try {
      return file.toRealPath().toString();
    } catch (IOException e) {
      throw new DataException(
          "%s cannot be opened: %s; check that it is still there and readable"
              .formatted(file, e.getMessage()),
          e);
    }
  }

  @Override
  public void close() {
    try {
      connection.close();
    } catch (SQLException e) {
      throw new IllegalStateException("the data reader (DuckDB) does not close", e);
    }
  }
}
