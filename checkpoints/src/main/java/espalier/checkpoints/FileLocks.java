package espalier.checkpoints;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Keeps processes and threads from fetching the same file at once. It saves work; that what was
 * fetched is whole does not rest on it, since locks do nothing on some network disks and Python's
 * are of another kind.
 */
final class FileLocks {

  // The system's locks are the process's: a second thread would be refused, not made to wait.
  private static final Map<Path, ReentrantLock> OF_THIS_PROCESS = new ConcurrentHashMap<>();

  private FileLocks() {}

  /** Runs {@code body} while no one else holds {@code lock}; {@code waiting} if it must wait. */
  static void hold(Path lock, Runnable waiting, Runnable body) {
    AtomicFiles.createFolder(lock.resolveSibling("."));
    var inside = OF_THIS_PROCESS.computeIfAbsent(lock.toAbsolutePath(), _ -> new ReentrantLock());
    if (!inside.tryLock()) {
      waiting.run();
      inside.lock();
    }
    try (var channel = FileChannel.open(lock, CREATE, WRITE)) {
      if (channel.tryLock() == null) {
        waiting.run();
        var _ = channel.lock();
      }
      body.run();
    } catch (IOException e) {
      throw AtomicFiles.cannotWrite(lock, e);
    } finally {
      inside.unlock();
    }
  }
}
