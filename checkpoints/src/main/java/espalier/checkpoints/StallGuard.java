package espalier.checkpoints;

import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;

/** Ends a transfer that stands still: the JDK's client would wait for the next byte for ever. */
final class StallGuard implements AutoCloseable {

  private final InputStream in;
  private final Duration longest;
  private final Thread watcher;
  private volatile long lastByte = System.nanoTime();
  private volatile boolean stalled;

  StallGuard(InputStream in, Duration longest) {
    this.in = in;
    this.longest = longest;
    watcher = Thread.ofVirtual().name("stall-guard").start(this::watch);
  }

  private void watch() {
    try {
      while (true) {
        long left = longest.toNanos() - (System.nanoTime() - lastByte);
        if (left <= 0) {
          stalled = true;
          in.close();
          return;
        }
        Thread.sleep(Duration.ofNanos(left));
      }
    } catch (InterruptedException | IOException _) {
      // the transfer has ended by itself
    }
  }

  /** Like {@link InputStream#read(byte[])}, but not for longer than was given. */
  int read(byte[] into) throws IOException {
    try {
      int count = in.read(into);
      if (!stalled) {
        lastByte = System.nanoTime();
        return count;
      }
    } catch (IOException e) {
      if (!stalled) {
        throw e;
      }
    }
    throw new IOException("no byte came for %d s".formatted(longest.toSeconds()));
  }

  @Override
  public void close() throws IOException {
    watcher.interrupt();
    in.close();
  }
}
