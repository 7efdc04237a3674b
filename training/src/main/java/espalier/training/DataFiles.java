package espalier.training;

import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/** Finds the files that a recipe's data names. */
final class DataFiles {

  private static final Pattern URL = Pattern.compile("[a-zA-Z][a-zA-Z0-9+.-]+://.*");

  private DataFiles() {}

  /** The files of {@code sources}, each once. */
  static List<Path> find(List<String> sources, DuckDb db) {
    if (sources.isEmpty()) {
      throw new DataException("no data is named; give one file or pattern, such as train.jsonl");
    }
    Set<Path> files = new LinkedHashSet<>();
    for (String source : sources) {
      files.addAll(find(source, db));
    }
    return List.copyOf(files);
  }

  private static List<Path> find(String source, DuckDb db) {
    if (URL.matcher(source).matches()) {
      throw new DataException(
          "data %s is an address, but only files are read; download it and name the file"
              .formatted(source));
    }
    // A file of this very name wins, so that one called data[1].jsonl can be read.
    if (isFile(source)) {
      return List.of(Path.of(source));
    }
    if (isFolder(source)) {
      throw new DataException(
          "data %s is a folder, but files are expected; name them, as %s/*.jsonl does"
              .formatted(source, source));
    }
    List<Path> files = db.glob(source).stream().filter(Files::isRegularFile).toList();
    if (files.isEmpty()) {
      throw new DataException(
          "data %s matches no file in %s; check the name, or give the whole path"
              .formatted(source, Path.of("").toAbsolutePath()));
    }
    return files;
  }

  private static boolean isFile(String name) {
    try {
      return Files.isRegularFile(Path.of(name));
    } catch (InvalidPathException pattern) { // Windows has no '*' in names
      return false;
    }
  }

  private static boolean isFolder(String name) {
    try {
      return Files.isDirectory(Path.of(name));
    } catch (InvalidPathException pattern) {
      return false;
    }
  }
}
