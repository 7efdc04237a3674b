package espalier.checkpoints;

import espalier.adapters.Nearest;
import java.io.Serial;
import java.nio.file.Path;
import java.util.Collection;

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

  /** An error of a tensor that is not there; it names the nearest of those that are. */
  static CheckpointException missing(Path file, String name, Collection<String> there) {
    String hint =
        there.isEmpty()
            ? "it has none at all"
            : "nearest of its %d is %s".formatted(there.size(), Nearest.of(name, there));
    return in(file, "there is no tensor %s; %s".formatted(name, hint));
  }
}
