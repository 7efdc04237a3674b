package espalier.checkpoints;

import java.io.Serial;
import java.nio.file.Path;

/**
 * A file that cannot be read, written or had. The message is one paragraph: the path, the byte
 * where there is one, what was read, what was expected, and how to mend it.
 */
public final class CheckpointException extends RuntimeException {

  @Serial private static final long serialVersionUID = 1;

  public CheckpointException(String message) {
    super(message);
  }

  public CheckpointException(String message, Throwable cause) {
    super(message, cause);
  }

  /** An error of the whole file: {@code PATH: PROBLEM}. */
  public static CheckpointException in(Path file, String problem) {
    return new CheckpointException(file + ": " + problem);
  }

  /** An error at a place of the file: {@code PATH, byte OFFSET: PROBLEM}. */
  public static CheckpointException at(Path file, long offset, String problem) {
    return new CheckpointException("%s, byte %d: %s".formatted(file, offset, problem));
  }
}
