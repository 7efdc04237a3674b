package espalier.checkpoints;

import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Path;

/**
 * Maps a file copy-on-write. A read-only mapping will not do: an in-place operation on a tensor
 * over it ends the JVM.
 */
final class PrivateMapping {

  private PrivateMapping() {}

  static MemorySegment of(Path path, Arena arena) throws IOException {
    try (var readable = FileChannel.open(path, READ)) {
      long size = readable.size();
      if (size == 0) {
        throw CheckpointException.in(
            path, "the file is empty; copy or download it again, a copy may have been cut short");
      }
      // The JDK maps privately only what could be written, although nothing ever is.
      try (var writable = FileChannel.open(path, READ, WRITE)) {
        return writable.map(MapMode.PRIVATE, 0, size, arena);
      } catch (IOException _) {
        // A model folder that belongs to someone else, or a read-only disk: both are common. Or one
        // larger than the memory.
        MemorySegment mapped = PosixMapping.of(path, size, arena);
        return mapped != null ? mapped : copy(readable, size, arena);
      }
    }
  }

  /** The last resort, where the C library has no mmap: Windows. Costs memory, not correctness. */
  static MemorySegment copy(FileChannel channel, long size, Arena arena) throws IOException {
    MemorySegment memory = arena.allocate(size, 64);
    for (long at = 0; at < size; ) {
      ByteBuffer part = memory.asSlice(at, Math.min(size - at, 1 << 26)).asByteBuffer();
      int read = channel.read(part, at);
      if (read < 0) {
        throw new EOFException("the file became shorter while it was read");
      }
      at += read;
    }
    return memory;
  }
}
