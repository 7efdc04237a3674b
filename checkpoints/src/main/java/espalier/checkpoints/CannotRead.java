package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Says why a file cannot be read. */
final class CannotRead {

  private CannotRead() {}

  static CheckpointException of(Path path, IOException e) {
    String why =
        switch (e) {
          case NoSuchFileException _ -> "there is no such file; check the path";
          case AccessDeniedException _ -> "reading it is not allowed; give this user read access";
          default ->
              Files.isDirectory(path)
                  ? "this is a folder, and a file was expected"
                  : "it could not be read: %s, %s"
                      .formatted(e.getClass().getSimpleName(), e.getMessage());
        };
    return new CheckpointException(path + ": " + why, e);
  }
}
