package espalier.cli;

import espalier.checkpoints.AtomicFiles;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Locale;

/** A file for results, in whose place nothing lies yet. */
final class FreshFile {

  private FreshFile() {}

  /**
   * Checks that a file can be written without touching what is there.
   *
   * @param option the option that named it
   * @throws IllegalArgumentException if something of that name is there
   * @throws espalier.checkpoints.CheckpointException if its folder is not there
   */
  static void require(String option, Path file) {
    if (Files.exists(file, LinkOption.NOFOLLOW_LINKS)) {
      throw new IllegalArgumentException(
          "%s %s is there already, and what is there is never written over; choose another name"
              .formatted(option, file));
    }
    AtomicFiles.requireFolderOf(file);
  }

  /** The same for a file whose name tells what it is, by an ending such as {@code .png}. */
  static void require(String option, Path file, String ending) {
    if (!file.toString().toLowerCase(Locale.ROOT).endsWith(ending)) {
      throw new IllegalArgumentException(
          "%s is %s but a %s file is written; give it a name that ends in %s"
              .formatted(option, file, ending.substring(1).toUpperCase(Locale.ROOT), ending));
    }
    require(option, file);
  }
}
