package espalier.training;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Reads training data: JSON Lines, JSON, CSV and Parquet, plain or as .gz or .zst (not Parquet).
 *
 * <p>Columns that no format knows are ignored. A null is taken as absent, because Parquet gives
 * each row the columns of all.
 */
public final class Dataset {

  private Dataset() {}

  /**
   * Reads all rows, file after file in the order of {@code sources}, each in its own order.
   *
   * @param sources names of files, or patterns with {@code *}, {@code **}, {@code ?} and {@code
   *     [abc]}, whose files are taken in the order of their names
   * @param format what the rows hold; null to find it out from the columns, for each file
   * @return one row or more
   * @throws DataException if no file matches, a file cannot be read, a row is not of the format, or
   *     there are no rows
   */
  public static List<Row> read(List<String> sources, @Nullable DataFormat format) {
    var rows = new ArrayList<Row>();
    try (DuckDb db = DuckDb.open()) {
      List<Path> files = DataFiles.find(sources, db);
      db.allowOnly(files);
      for (Path file : files) {
        var parser = new RowParser(file, format);
        db.read(file, (number, json) -> rows.add(parser.parse(number, json)));
      }
      if (rows.isEmpty()) {
        throw new DataException(
            "%s: no rows, but one or more are needed; is this the right file?"
                .formatted(files.stream().map(Path::toString).collect(Collectors.joining(", "))));
      }
    }
    return List.copyOf(rows);
  }

  /** Reads all rows of one file. */
  public static List<Row> read(Path file, @Nullable DataFormat format) {
    return read(List.of(file.toString()), format);
  }
}
