package espalier.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Where a command writes a folder of its own. */
final class OutFolder {

  @Option(
      names = {"-o", "--out"},
      required = true,
      paramLabel = "DIR",
      description = "The new folder; it must be empty, or not there yet")
  private Path path = Path.of("");

  /**
   * The folder, in which nothing lies yet.
   *
   * @throws IllegalArgumentException if it is a file or holds something
   */
  Path fresh() {
    FreshFolder.require(path);
    return path;
  }
}
