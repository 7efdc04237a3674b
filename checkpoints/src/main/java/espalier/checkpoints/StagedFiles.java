package espalier.checkpoints;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * Files of a folder that take the place of older ones together. They are written to a hidden folder
 * inside it first, so that a full disk or a fault leaves the older ones as they were; then {@link
 * #commit} moves them. Other files of the folder are left alone.
 *
 * <pre>{@code
 * try (var staged = new StagedFiles(folder, List.of("weights", "config"))) {
 *   AtomicFiles.write(staged.file("config"), text);
 *   staged.commit();
 * }
 * }</pre>
 */
final class StagedFiles implements AutoCloseable {

  private final Path folder;
  private final Path stage;
  private final List<String> names;

  /**
   * Makes the folder if it is not there.
   *
   * @param names all files that there may be, relative to the folder. Nobody takes the folder for
   *     whole without the last one, which must be written
   */
  StagedFiles(Path folder, List<String> names) {
    this.folder = folder.toAbsolutePath().normalize();
    this.names = List.copyOf(names);
    stage = this.folder.resolve("." + UUID.randomUUID() + ".tmp");
    AtomicFiles.createFolder(this.folder);
    AtomicFiles.createFolder(stage);
  }

  /** Where a file is written to until all of them are there. */
  Path file(String name) {
    Path file = stage.resolve(name);
    AtomicFiles.createFolder(file.resolveSibling("."));
    return file;
  }

  /**
   * Puts the files in the place of those that are there, and deletes those that were not written.
   * The last one goes first and comes back last: a process that is killed between may leave a
   * folder without it, but never one that mixes old and new.
   *
   * @throws CheckpointException if that fails
   */
  void commit() {
    for (String name : names) {
      Path file = folder.resolve(name);
      if (Files.isDirectory(file)) {
        throw AtomicFiles.cannotWrite(file, new IOException("a folder is in its place"));
      }
    }
    AtomicFiles.delete(folder.resolve(names.getLast()));
    for (String name : names) {
      Path place = folder.resolve(name);
      Path written = stage.resolve(name);
      if (Files.exists(written)) {
        AtomicFiles.createFolder(place.resolveSibling("."));
        AtomicFiles.move(written, place);
      } else {
        AtomicFiles.delete(place);
        Path parent = place.resolveSibling(".").normalize();
        if (!parent.equals(folder)) {
          AtomicFiles.deleteQuietly(parent); // if nothing else is in it
        }
      }
    }
  }

  /** Deletes what was not moved. */
  @Override
  public void close() {
    try (Stream<Path> all = Files.walk(stage)) {
      all.sorted(Comparator.reverseOrder()).forEach(AtomicFiles::deleteQuietly);
    } catch (IOException | UncheckedIOException _) {
      // What made the writing fail is the error to report, not that its remains resist too.
    }
  }
}
