package espalier.parity;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A folder of case folders.
 *
 * @param path the folder
 * @param own whether it is this project's, to which alone {@code pending.txt} applies
 */
record CasesFolder(Path path, boolean own) {

  /**
   * The folder that {@code -Dparity.cases=DIR} names, else {@code cases} beside the pom. A relative
   * DIR counts from where the build was started, which the pom hands on as {@code parity.root}.
   */
  static CasesFolder fromProperties() {
    Path mine = module().resolve("cases");
    String asked = property("parity.cases");
    if (asked.isEmpty()) {
      return new CasesFolder(mine, true);
    }
    Path path = Path.of(property("parity.root")).resolve(asked).toAbsolutePath().normalize();
    if (!Files.isDirectory(path)) {
      throw new AssertionError(
          "parity.cases is %s but there is no folder %s; a relative one counts from where the build was started"
              .formatted(asked, path));
    }
    return new CasesFolder(path, sameFolder(path, mine));
  }

  /** The folder of this module, where surefire runs its tests. */
  static Path module() {
    return Path.of(property("basedir")).toAbsolutePath().normalize();
  }

  private static String property(String name) {
    return System.getProperty(name, "").strip();
  }

  private static boolean sameFolder(Path one, Path other) {
    try {
      return Files.isDirectory(other) && Files.isSameFile(one, other);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  Pending pending() {
    return own ? Pending.in(module().resolve("pending.txt")) : Pending.none();
  }

  /**
   * Every folder below that has a {@code case.json}, by name; with {@code -Dparity.only=REGEX} only
   * those whose name it is found in.
   */
  List<Path> folders() {
    var only = Pattern.compile(property("parity.only"));
    try (Stream<Path> files = Files.walk(path, FileVisitOption.FOLLOW_LINKS)) {
      List<Path> all =
          files.filter(file -> file.endsWith("case.json")).map(Path::getParent).sorted().toList();
      List<Path> chosen = all.stream().filter(f -> only.matcher(nameOf(f)).find()).toList();
      if (chosen.isEmpty()) {
        throw new AssertionError(
            "%s has %d case folders and none of them is asked for; a case folder has a case.json"
                .formatted(path, all.size()));
      }
      return chosen;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static String nameOf(Path folder) {
    return String.valueOf(folder.getFileName());
  }
}
