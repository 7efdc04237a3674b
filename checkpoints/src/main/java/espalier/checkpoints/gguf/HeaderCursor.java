package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Reads a header front to back. Each read is compared with what is left of the file before it is
 * made, so that no number in the file can lead outside it or make the reader allocate more than the
 * file could fill.
 */
final class HeaderCursor {

  /**
   * The longest header that is read. Known files stay below 32 MiB (a vocabulary of 262,144 tokens
   * with its merges); the limit keeps a damaged length from filling the heap.
   */
  private static final long LONGEST_HEADER = 128L << 20;

  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final Path path;
  private final MemorySegment file;
  private long at;

  HeaderCursor(Path path, MemorySegment file) {
    this.path = path;
    this.file = file;
  }

  /** The offset of the next read, in bytes. */
  long at() {
    return at;
  }

  /** Bytes of the file behind the next read. */
  long left() {
    return file.byteSize() - at;
  }

  byte int8(String what) {
    return file.get(ValueLayout.JAVA_BYTE, step(1, what));
  }

  short int16(String what) {
    return file.get(SHORT, step(2, what));
  }

  int int32(String what) {
    return file.get(INT, step(4, what));
  }

  long int64(String what) {
    return file.get(LONG, step(8, what));
  }

  /**
   * A count of things that follow.
   *
   * @param leastBytes what each of them takes at least, so that the count can be judged before
   *     anything is allocated for it
   */
  int count(long leastBytes, int most, String what) {
    long start = at;
    long count = int64(what);
    if (count < 0 || count > left() / leastBytes) {
      throw refused(
          start,
          "%s says %s, but the %d bytes left can hold at most %d"
              .formatted(what, Long.toUnsignedString(count), left(), left() / leastBytes));
    }
    if (count > most) {
      throw refused(start, "%s says %d, and more than %d is not read".formatted(what, count, most));
    }
    return (int) count;
  }

  /** A string with its length before it, in UTF-8. */
  String string(String what) {
    long start = at;
    long length = int64("the length of " + what);
    if (length < 0 || length > left()) {
      throw refused(
          start,
          "%s says it is %s bytes long, but %d are left in the file"
              .formatted(what, Long.toUnsignedString(length), left()));
    }
    long from = step(length, what);
    byte[] bytes = new byte[(int) length];
    MemorySegment.copy(file, ValueLayout.JAVA_BYTE, from, bytes, 0, bytes.length);
    String text = new String(bytes, StandardCharsets.UTF_8);
    if (text.indexOf('\uFFFD') >= 0) { // put there for bytes that are no UTF-8, or truly meant
      try {
        StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
      } catch (CharacterCodingException e) {
        throw refused(start, what + " holds bytes that are not UTF-8");
      }
    }
    return text;
  }

  /** Moves over {@code bytes} that are there and that a header may have; where they begin. */
  private long step(long bytes, String what) {
    if (bytes > left()) {
      throw refused(
          at, "the file ends within %s: %d bytes needed, %d left".formatted(what, bytes, left()));
    }
    long start = at;
    at += bytes;
    if (at > LONGEST_HEADER) {
      throw refused(start, "the header is longer than %d MiB".formatted(LONGEST_HEADER >> 20));
    }
    return start;
  }

  /** A refusal of what no sound file has: the file, the offset and what was found there. */
  CheckpointException refused(long offset, String found) {
    return unread(
        offset, found + "; the file is damaged or was cut off, fetch or convert it again");
  }

  /** A refusal of what a sound file may have but this reader does not read. */
  CheckpointException unread(long offset, String found) {
    return CheckpointException.at(path, offset, found);
  }
}
