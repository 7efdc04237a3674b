package espalier.checkpoints;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;

import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * One repository in the cache that Hugging Face's tools share: {@code blobs} holds contents by
 * etag, {@code snapshots} a folder a commit with links to them, {@code refs} the commit of a
 * branch.
 *
 * @see <a href="https://huggingface.co/docs/huggingface_hub/guides/manage-cache">the layout</a>
 */
final class HubCache {

  private final Path root;
  private final Path folder;
  private final boolean symlinks;

  HubCache(HubSettings settings, String repo) {
    root = settings.cache();
    folder = root.resolve("models--" + repo.replace("/", "--"));
    symlinks = settings.symlinks();
  }

  Path blob(HubFile file) {
    return folder.resolve("blobs").resolve(file.etag());
  }

  Path snapshot(String commit) {
    return folder.resolve("snapshots").resolve(commit);
  }

  /** Where a file of a commit is seen. */
  Path pointer(String commit, String name) {
    return snapshot(commit).resolve(name);
  }

  /** Held by whoever fetches the content of {@code file}. */
  Path lock(HubFile file) {
    return root.resolve(".locks").resolve(folder.getFileName()).resolve(file.etag() + ".lock");
  }

  /** A revision that is a commit itself, and so never changes. */
  static boolean isCommit(String revision) {
    return revision.matches("[0-9a-f]{40}");
  }

  /** The commit that {@code revision} stood for when it was last fetched, or null. */
  @Nullable String commit(String revision) {
    if (isCommit(revision)) {
      return revision;
    }
    Path ref = folder.resolve("refs").resolve(revision);
    try {
      String commit = Files.isRegularFile(ref) ? Files.readString(ref).strip() : "";
      return PlainName.is(commit) ? commit : null;
    } catch (IOException e) {
      throw CannotRead.of(ref, e);
    }
  }

  void remember(String revision, String commit) {
    if (!revision.equals(commit) && !commit.equals(commit(revision))) {
      Path ref = folder.resolve("refs").resolve(revision);
      AtomicFiles.createFolder(ref.resolveSibling("."));
      AtomicFiles.write(ref, commit);
    }
  }

  /**
   * Makes the content of {@code file} seen in the snapshot of {@code commit}: by a relative link,
   * so that the cache can be moved, or where links are not to be had by the content itself.
   *
   * @param fresh whether the blob was fetched for this, so that it may be moved
   */
  void show(HubFile file, String commit, boolean fresh) {
    Path pointer = pointer(commit, file.name());
    Path blob = blob(file);
    if (Files.exists(pointer)) {
      return;
    }
    AtomicFiles.createFolder(pointer.resolveSibling("."));
    try {
      Files.deleteIfExists(pointer); // a link whose blob someone deleted
      if (!symlinks || !link(pointer, blob)) {
        place(blob, pointer, fresh);
      }
    } catch (IOException e) {
      throw AtomicFiles.cannotWrite(pointer, e);
    }
  }

  private static boolean link(Path pointer, Path blob) throws IOException {
    try {
      Path from = pointer.resolveSibling(".").toAbsolutePath().normalize();
      Files.createSymbolicLink(pointer, from.relativize(blob.toAbsolutePath().normalize()));
      return true;
    } catch (FileAlreadyExistsException e) {
      return Files.exists(pointer); // another process was faster
    } catch (UnsupportedOperationException | IOException e) {
      if (Files.exists(pointer, LinkOption.NOFOLLOW_LINKS)) {
        throw new IOException("a link that leads nowhere is in the way", e);
      }
      return false; // Windows without the right to make links, some network disks
    }
  }

  private static void place(Path blob, Path pointer, boolean fresh) throws IOException {
    if (fresh) {
      Files.move(blob, pointer, ATOMIC_MOVE, REPLACE_EXISTING);
      return;
    }
    Path part =
        pointer.resolveSibling("." + pointer.getFileName() + "." + UUID.randomUUID() + ".tmp");
    try {
      Files.copy(blob, part);
      Files.move(part, pointer, ATOMIC_MOVE, REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }
}
