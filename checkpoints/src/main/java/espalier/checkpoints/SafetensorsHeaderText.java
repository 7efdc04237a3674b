package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.checkpoints.SafetensorsWriter.Piece;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JsonGenerator;

/** The header that goes before the data: JSON, padded with spaces so that the data are aligned. */
final class SafetensorsHeaderText {

  private SafetensorsHeaderText() {}

  /** The header of {@code pieces}, whose data follow each other in this order. */
  static byte[] of(List<Piece> pieces, Map<String, String> metadata) {
    var text = new StringWriter();
    try (JsonGenerator json = StrictJson.MAPPER.createGenerator(text)) {
      json.writeStartObject();
      if (!metadata.isEmpty()) {
        json.writeName("__metadata__");
        json.writeStartObject();
        metadata.forEach(json::writeStringProperty);
        json.writeEndObject();
      }
      long at = 0;
      for (Piece piece : pieces) {
        long end = at + piece.bytes();
        json.writeName(piece.name());
        json.writeStartObject();
        json.writeStringProperty("dtype", piece.dtype().name());
        numbers(json, "shape", piece.shape());
        numbers(json, "data_offsets", at, end);
        json.writeEndObject();
        at = end;
      }
      json.writeEndObject();
    }
    byte[] plain = text.toString().getBytes(UTF_8);
    byte[] padded = Arrays.copyOf(plain, Math.ceilDiv(plain.length, 8) * 8);
    Arrays.fill(padded, plain.length, padded.length, (byte) ' ');
    if (padded.length > SafetensorsHeader.MAX_LENGTH) {
      throw new IllegalArgumentException(
          ("the names and metadata take %s but readers allow a header of %s; shorten"
                  + " them, or write shards")
              .formatted(Bytes.text(padded.length), Bytes.text(SafetensorsHeader.MAX_LENGTH)));
    }
    return padded;
  }

  private static void numbers(JsonGenerator json, String name, long... numbers) {
    json.writeName(name);
    json.writeArray(numbers, 0, numbers.length);
  }
}
