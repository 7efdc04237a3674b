package espalier.training;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.zip.GZIPInputStream;
import tools.jackson.core.JacksonException;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.ObjectReader;
import tools.jackson.databind.json.JsonMapper;

/**
 * Finds the faulty line of a JSON file that DuckDB refused. Its own message counts lines one too
 * many, and a training file of a million lines is mended by line number.
 */
final class MalformedJson {

  private static final ObjectReader JSON =
      JsonMapper.shared().reader().with(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private MalformedJson() {}

  static DataException explain(Path file, FileType type, SQLException refusal) {
    try (InputStream in = open(file)) {
      return type == FileType.JSON ? inDocument(file, in, refusal) : inLines(file, in, refusal);
    } catch (IOException unreadable) {
      return plain(file, refusal);
    }
  }

  private static DataException inLines(Path file, InputStream in, SQLException refusal)
      throws IOException {
    var line = new ByteArrayOutputStream();
    int number = 1;
    for (int b = in.read(); ; b = in.read()) {
      if (b != '\n' && b != -1) {
        line.write(b);
        continue;
      }
      try {
        JSON.readTree(line.toByteArray());
      } catch (JacksonException e) {
        return malformed(file, number, e, refusal);
      }
      if (b == -1) {
        return plain(file, refusal);
      }
      line.reset();
      number++;
    }
  }

  private static DataException inDocument(Path file, InputStream in, SQLException refusal) {
    try (var values = JsonMapper.shared().readerFor(Object.class).readValues(in)) {
      while (values.hasNextValue()) {
        values.nextValue();
      }
      return plain(file, refusal);
    } catch (JacksonException e) {
      TokenStreamLocation at = e.getLocation();
      return malformed(file, at == null ? 1 : at.getLineNr(), e, refusal);
    }
  }

  private static DataException malformed(
      Path file, int line, JacksonException fault, SQLException refusal) {
    return new DataException(
        "%s line %d is not JSON: %s; mend the line or take it out"
            .formatted(file, line, DataFaults.shortened(fault.getOriginalMessage())),
        refusal);
  }

  private static DataException plain(Path file, SQLException refusal) {
    return new DataException(
        "%s cannot be read as JSON: %s".formatted(file, DataFaults.firstLine(refusal)), refusal);
  }

  /** The text of the file; .zst cannot be opened here and gives no line. */
  static InputStream open(Path file) throws IOException {
    InputStream in = new BufferedInputStream(Files.newInputStream(file));
    return file.toString().endsWith(".gz") ? new GZIPInputStream(in) : in;
  }
}
