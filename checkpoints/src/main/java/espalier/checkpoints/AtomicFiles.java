package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.UUID;

/**
 * Writes files whole or not at all: into a file beside the target, forced to disk, then renamed
 * over it. Whoever reads the target sees the old content or the new, also after a power cut.
 */
public final class AtomicFiles {

  private AtomicFiles() {}

  /** Writes the content of a file; may fail with any {@link IOException}. */
  @FunctionalInterface
  public interface Content {
    void writeTo(OutputStream out) throws IOException;
  }

  /** The same with the open channel, for content that lies in native memory. */
  @FunctionalInterface
  interface ChannelContent {
    void writeTo(FileChannel channel) throws IOException;
  }

  /**
   * Writes {@code text} as UTF-8.
   *
   * @throws CheckpointException if it cannot be written; nothing is left then
   */
  public static void write(Path file, String text) {
    write(file, text.getBytes(UTF_8));
  }

  /**
   * Writes {@code content}.
   *
   * @throws CheckpointException if it cannot be written; nothing is left then
   */
  public static void write(Path file, byte[] content) {
    write(file, out -> out.write(content));
  }

  /**
   * Writes what {@code content} puts into the stream, which is buffered and need not be closed.
   *
   * @throws CheckpointException if it cannot be written; nothing is left then
   */
  public static void write(Path file, Content content) {
    writeChannel(
        file,
        channel -> {
          var out = new BufferedOutputStream(Channels.newOutputStream(channel), 1 << 16);
          content.writeTo(out);
          out.flush();
        });
  }

  static void writeChannel(Path file, ChannelContent content) {
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
      Files.move(part, target, ATOMIC_MOVE, REPLACE_EXISTING);
      renamed = true;
      forceFolder(target);
    } catch (IOException e) {
      throw cannotWrite(file, e);
    } finally {
      if (!renamed) {
        deleteQuietly(part);
      }
    }
  }

  /** Makes the rename itself outlive a power cut, where the system lets a folder be opened. */
  private static void forceFolder(Path target) {
    try (var folder = FileChannel.open(target.resolveSibling("."), READ)) {
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

  /** Makes a folder and those above it that are missing. */
  static void createFolder(Path folder) {
    Path whole = folder.toAbsolutePath().normalize();
    try {
      Files.createDirectories(whole);
    } catch (IOException e) {
      throw cannotWrite(whole, e);
    }
  }

  /** Says what stood in the way of writing {@code file}. */
  static CheckpointException cannotWrite(Path file, IOException e) {
    if (isDiskFull(e)) {
      return new CheckpointException(
          ("%s could not be written: the disk is full (%s are free); make room or choose"
                  + " another folder")
              .formatted(file, free(file)),
          e);
    }
    String why =
        switch (e) {
          case NoSuchFileException _ -> "its folder does not exist; make it first";
          case AccessDeniedException _ -> "writing there is not allowed; choose another folder";
          default ->
              Files.isDirectory(file)
                  ? "a folder of that name is in the way; move it away"
                  : e.getClass().getSimpleName() + ", " + e.getMessage();
        };
    return new CheckpointException("%s could not be written: %s".formatted(file, why), e);
  }

  static boolean isDiskFull(IOException e) {
    String message = String.valueOf(e.getMessage());
    // Linux and macOS; a quota; Windows. The JDK has no type for it.
    return message.contains("No space left")
        || message.contains("Disk quota exceeded")
        || message.contains("not enough space on the disk");
  }

  private static String free(Path file) {
    try {
      FileStore store = Files.getFileStore(file.toAbsolutePath().getParent());
      return Bytes.text(store.getUsableSpace());
    } catch (IOException _) {
      return "0 bytes";
    }
  }
}
