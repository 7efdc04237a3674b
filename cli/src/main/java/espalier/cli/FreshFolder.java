package espalier.cli;

import espalier.checkpoints.AtomicFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** A folder for results, in which nothing lies yet. */
final class FreshFolder {

  private FreshFolder() {}

  /**
   * Checks that a folder can be written to without touching what is there.
   *
   * @throws IllegalArgumentException if it is a file or holds something
   * @throws espalier.checkpoints.CheckpointException if it can not be made
   */
  static void require(Path folder) {
    if (!Files.exists(folder)) {
      AtomicFiles.requireFolder(folder);
      return;
    }
    if (!Files.isDirectory(folder)) {
      throw new IllegalArgumentException(
          "--out %s is a file but a folder is written; choose another name".formatted(folder));
    }
    try (DirectoryStream<Path> inside = Files.newDirectoryStream(folder)) {
      if (inside.iterator().hasNext()) {
        throw new IllegalArgumentException(
            "--out %s is not empty, and what is there is never written over; choose another folder"
                .formatted(folder));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
