package espalier.recipes;

import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * Folders that are found whole or not at all, whenever the process is killed. One that is replaced
 * steps aside first, and comes back if the new one did not reach its place.
 */
final class WholeFolders {

  /** What stepped aside for another of its name, and is whole. */
  private static final String ASIDE = ".old";

  /** What is being deleted, and may be half gone. */
  private static final String DYING = ".gone";

  private WholeFolders() {}

  /** Puts back what had stepped aside in a folder when the process was killed. */
  static void recover(Path folder) {
    if (!Files.isDirectory(folder)) {
      return;
    }
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder, ".*" + ASIDE)) {
      for (Path aside : entries) {
        String hidden = aside.getFileName().toString();
        Path place = aside.resolveSibling(hidden.substring(1, hidden.length() - ASIDE.length()));
        if (Files.exists(place)) {
          delete(aside);
        } else {
          AtomicFiles.move(aside, place);
        }
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be listed".formatted(folder), e);
    }
  }

  /** Puts a whole folder where another may stand; at any moment one of them can be found. */
  static void replace(Path part, Path place) {
    Path aside = place.resolveSibling("." + place.getFileName() + ASIDE);
    if (Files.exists(place)) {
      delete(aside);
      AtomicFiles.move(place, aside);
    }
    AtomicFiles.move(part, place);
    delete(aside);
  }

  /** Deletes a folder; a half deleted one is not found under its name. */
  static void discard(Path folder) {
    Path dying = folder.resolveSibling("." + folder.getFileName() + DYING);
    delete(dying);
    AtomicFiles.move(folder, dying);
    delete(dying);
  }

  /** Deletes a folder that nobody looks for, if it is there. */
  static void delete(Path path) {
    if (!Files.exists(path)) {
      return;
    }
    try (Stream<Path> all = Files.walk(path)) {
      List<Path> inner = all.sorted(Comparator.reverseOrder()).toList();
      for (Path each : inner) {
        Files.delete(each);
      }
    } catch (IOException e) {
      throw new CheckpointException("%s can not be deleted".formatted(path), e);
    }
  }
}
