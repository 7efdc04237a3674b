package espalier.checkpoints;

import java.io.IOException;
import java.time.Duration;

/** Waits between attempts, twice as long each time, and knows when it has been enough. */
final class Retries {

  static final int ATTEMPTS = 5;

  private final Duration firstPause;
  private int failures;

  Retries(Duration firstPause) {
    this.firstPause = firstPause;
  }

  /** Something was gained since the last failure, so the count begins anew. */
  void progressed() {
    failures = 0;
  }

  /**
   * Counts a failure and waits.
   *
   * @throws IOException {@code failure} itself if that was the last attempt
   */
  void after(IOException failure) throws IOException {
    failures++;
    if (failures >= ATTEMPTS) {
      throw failure;
    }
    Duration pause = firstPause.multipliedBy(1L << (failures - 1));
    if (failure instanceof HubUnavailable busy && busy.retryAfter().compareTo(pause) > 0) {
      pause = busy.retryAfter();
    }
    try {
      Thread.sleep(pause);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CheckpointException("waiting for the hub was interrupted", e);
    }
  }
}
