package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.text.WholeFile;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;

/**
 * Writes files whole or not at all, as {@link WholeFile} does, and says in a sentence what stood in
 * the way.
 */
public final class AtomicFiles {

  private AtomicFiles() {}

  /** Writes the content of a file; may fail with any {@link IOException}. */
  @FunctionalInterface
  public interface Content {
    void writeTo(OutputStream out) throws IOException;
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

  /** The same with the open channel, for content that lies in native memory. */
  static void writeChannel(Path file, WholeFile.Content content) {
    try {
      WholeFile.write(file, content);
    } catch (IOException e) {
      throw cannotWrite(file, e);
    }
  }

  /**
   * Makes a folder and those above it that are missing.
   *
   * @throws CheckpointException if it cannot be made, with what stands in the way
   */
  public static void createFolder(Path folder) {
    try {
      Files.createDirectories(folder.toAbsolutePath().normalize());
    } catch (IOException e) {
      throw cannotMake(folder, e);
    }
  }

  /**
   * Finds out whether a folder can be made, before long work whose results go there; nothing is
   * left of the attempt.
   *
   * @throws CheckpointException if it cannot be made, with what stands in the way
   */
  public static void requireFolder(Path folder) {
    var missing = new ArrayList<Path>();
    for (Path at = folder.toAbsolutePath().normalize();
        at != null && !Files.exists(at, LinkOption.NOFOLLOW_LINKS);
        at = at.getParent()) {
      missing.add(at);
    }
    try {
      createFolder(folder);
    } finally {
      missing.forEach(AtomicFiles::deleteQuietly);
    }
  }

  /** Deletes a file, or a folder in which nothing is; what resists stays. */
  static void deleteQuietly(Path path) {
    try {
      Files.deleteIfExists(path);
    } catch (IOException _) {
      // Somebody else has put something there meanwhile; then it is theirs.
    }
  }

  /**
   * Deletes a file that may not be there.
   *
   * @throws CheckpointException if it resists
   */
  static void delete(Path file) {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      throw new CheckpointException("%s can not be deleted: %s".formatted(file, e), e);
    }
  }

  /**
   * Renames a file or a folder in one step that outlives a power cut; a file takes the place of one
   * that is there.
   *
   * @throws CheckpointException if it can not be renamed; nothing is changed then
   */
  public static void move(Path from, Path to) {
    try {
      WholeFile.move(from, to);
    } catch (IOException e) {
      throw new CheckpointException("%s can not be renamed to %s".formatted(from, to), e);
    }
  }

  /**
   * Finds out whether the folder of a file is there, before long work whose result goes into it.
   *
   * @throws CheckpointException if it is not
   */
  public static void requireFolderOf(Path file) {
    if (!Files.isDirectory(file.toAbsolutePath().resolveSibling("."))) {
      throw cannotWrite(file, new NoSuchFileException(file.toString()));
    }
  }

  private static CheckpointException cannotMake(Path folder, IOException e) {
    Path file = folder.toAbsolutePath().normalize();
    while (file != null && !Files.exists(file)) {
      file = file.getParent();
    }
    String why;
    if (isDiskFull(e)) {
      why = "the disk is full (%s are free); make room or choose another".formatted(free(folder));
    } else if (file != null && !Files.isDirectory(file)) {
      why = "%s is a file; choose another".formatted(file);
    } else if (e instanceof AccessDeniedException) {
      why = "writing to %s is not allowed; choose another".formatted(file);
    } else {
      why = "%s takes no new folders; choose another".formatted(file);
    }
    return new CheckpointException("%s can not be made: %s".formatted(folder, why), e);
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
