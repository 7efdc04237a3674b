package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.checkpoints.TensorFile.Entry;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.charset.CodingErrorAction;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The checked header of a safetensors file.
 *
 * @param entries in the order of their data, which they cover without hole or overlap
 * @param metadata what stood under {@code __metadata__}
 * @param dataStart the file offset that an entry's {@code begin} counts from
 */
record SafetensorsHeader(Map<String, Entry> entries, Map<String, String> metadata, long dataStart) {

  /** The reference's own limit. A real header is some kilobytes. */
  static final long MAX_LENGTH = 100_000_000;

  private static final ValueLayout.OfLong LENGTH =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  static SafetensorsHeader read(Path path, MemorySegment file) {
    if (file.byteSize() < 8) {
      throw CheckpointException.in(
          path,
          ("the file has %s but begins with an 8-byte length if it is safetensors; it was cut"
                  + " short, copy or download it again")
              .formatted(Bytes.text(file.byteSize())));
    }
    long length = file.get(LENGTH, 0);
    if (length < 0 || length > MAX_LENGTH) {
      throw CheckpointException.at(
          path,
          0,
          "the header's length reads %s but at most %d is allowed; %s"
              .formatted(Long.toUnsignedString(length), MAX_LENGTH, FileKind.of(file).hint()));
    }
    if (length > file.byteSize() - 8) {
      throw CheckpointException.at(
          path,
          0,
          ("the header's length reads %d but only %d bytes follow; the file was cut short, copy or"
                  + " download it again")
              .formatted(length, file.byteSize() - 8));
    }
    String json = decode(path, file.asSlice(8, length));
    long dataStart = 8 + length;
    var parsed = SafetensorsHeaderParser.parse(path, json);
    var entries =
        SafetensorsLayout.check(path, parsed.entries(), dataStart, file.byteSize() - dataStart);
    return new SafetensorsHeader(
        Collections.unmodifiableMap(entries),
        Collections.unmodifiableMap(new LinkedHashMap<>(parsed.metadata())),
        dataStart);
  }

  private static String decode(Path path, MemorySegment header) {
    ByteBuffer in = ByteBuffer.wrap(header.toArray(ValueLayout.JAVA_BYTE));
    CharBuffer out = CharBuffer.allocate(in.remaining()); // UTF-8 has no fewer bytes than chars
    var decoder =
        UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT);
    var result = decoder.decode(in, out, true);
    if (result.isError()) {
      throw CheckpointException.at(
          path,
          8 + in.position(),
          "the header is not valid UTF-8 here; the file is damaged, copy or download it again");
    }
    return out.flip().toString();
  }
}
