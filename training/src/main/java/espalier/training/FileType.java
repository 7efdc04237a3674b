package espalier.training;

import java.nio.file.Path;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** How a data file is written, by its name. */
enum FileType {
  JSON_LINES,
  JSON,
  CSV,
  TSV,
  PARQUET;

  private static final Pattern NAME =
      Pattern.compile(".*\\.(jsonl|ndjson|json|csv|tsv|parquet)(\\.gz|\\.zst)?");

  static FileType of(Path file) {
    Matcher name = NAME.matcher(file.toString().toLowerCase(Locale.ROOT));
    if (!name.matches() || (name.group(1).equals("parquet") && name.group(2) != null)) {
      throw new DataException(
          "%s is of no known kind, but data is .jsonl, .json, .csv, .tsv (also with .gz or .zst) or .parquet; rename or convert it"
              .formatted(file));
    }
    return switch (name.group(1)) {
      case "json" -> JSON;
      case "csv" -> CSV;
      case "tsv" -> TSV;
      case "parquet" -> PARQUET;
      default -> JSON_LINES;
    };
  }
}
