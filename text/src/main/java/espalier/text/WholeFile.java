package espalier.text;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;

/**
 * Writes files whole or not at all: into a file beside the target, forced to disk, then renamed
 * over it. Whoever reads the target sees the old content or the new, also after a power cut.
 */
public final class WholeFile {

  private WholeFile() {}

  /** Writes the content of a file from the channel's start; may fail in any way. */
  @FunctionalInterface
  public interface Content {
    void writeTo(FileChannel channel) throws IOException;
  }

  /**
   * Writes {@code text} as UTF-8.
   *
   * @throws IOException if it cannot be written; the old content is left then, and nothing beside
   */
  public static void write(Path file, String text) throws IOException {
    write(file, text.getBytes(UTF_8));
  }

  /**
   * Writes {@code content}.
   *
   * @throws IOException if it cannot be written; the old content is left then, and nothing beside
   */
  public static void write(Path file, byte[] content) throws IOException {
    write(
        file,
        channel -> {
          ByteBuffer left = ByteBuffer.wrap(content);
          while (left.hasRemaining()) {
            channel.write(left);
          }
        });
  }

  /**
   * Writes what {@code content} puts into the channel.
   *
   * @throws IOException if it cannot be written; the old content is left then, and nothing beside
   */
  public static void write(Path file, Content content) throws IOException {
    Path target = file.toAbsolutePath();
    // In the same folder, because a rename is atomic only within one file system.
    Path part =
        target.resolveSibling("." + target.getFileName() + "." + UUID.randomUUID() + ".tmp");
    boolean renamed = false;
    try {
      // Not Files.createTempFile: its files are readable by their owner only, and stay so.
      try (var channel = FileChannel.open(part, CREATE_NEW, WRITE)) {
        content.writeTo(channel);
        // Without it a power cut could leave the new name on an empty file.
        channel.force(true);
      }
      move(part, target);
      renamed = true;
    } finally {
      if (!renamed) {
        deleteQuietly(part);
      }
    }
  }

  /**
   * Renames a file or a folder in one step, which outlives a power cut where the system lets a
   * folder be opened. A file takes the place of one that is there.
   *
   * @throws IOException if it can not be renamed, such as to another file system; nothing is
   *     changed then
   */
  public static void move(Path from, Path to) throws IOException {
    Files.move(from, to, ATOMIC_MOVE, REPLACE_EXISTING);
    try (var folder = FileChannel.open(to.toAbsolutePath().resolveSibling("."), READ)) {
      folder.force(true);
    } catch (IOException _) {
      // Windows has no such call; the file itself is on disk either way.
    }
  }

  private static void deleteQuietly(Path part) {
    try {
      Files.deleteIfExists(part);
    } catch (IOException _) {
      // What made the write fail is the error to report, not that its remains resist too.
    }
  }
}
