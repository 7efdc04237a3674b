package espalier.nn.parallel;

import java.time.Duration;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Where threads that are ranks meet: each brings a tensor and sees those of the others. */
final class Meeting {

  private final Tensor[] brought;
  private final long patience; // milliseconds
  private int waiting;
  private long turn;
  private @Nullable Throwable left;

  Meeting(int size, Duration patience) {
    brought = new Tensor[size];
    this.patience = patience.toMillis();
  }

  /** Waits until all have brought a tensor; what is returned may be read until {@link #part}. */
  Tensor[] bring(int rank, Tensor tensor) {
    brought[rank] = tensor;
    await();
    return brought;
  }

  /** Waits until all are done with what was brought. */
  void part() {
    await();
  }

  private synchronized void await() {
    long now = turn;
    if (++waiting == brought.length) {
      waiting = 0;
      turn++;
      notifyAll();
      return;
    }
    long until = System.nanoTime() / 1_000_000 + patience;
    while (turn == now && left == null) {
      long rest = until - System.nanoTime() / 1_000_000;
      if (rest <= 0) {
        leave(
            new IllegalStateException(
                "a rank waited %d ms in vain for the others; all ranks must run the same passes in the same order"
                    .formatted(patience)));
        break;
      }
      try {
        wait(rest);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        leave(e);
      }
    }
    if (turn == now) {
      throw new IllegalStateException(
          "a rank has left the others, which can not go on without it", left);
    }
  }

  /** A rank goes for good; those who wait for it, now or later, fail. */
  synchronized void leave(Throwable why) {
    if (left == null) {
      left = why;
    }
    notifyAll();
  }

  /** Throws what the first rank that failed threw. */
  synchronized void raise() {
    switch (left) {
      case null -> {}
      case RuntimeException e -> throw e;
      case Error e -> throw e;
      default -> throw new IllegalStateException(left);
    }
  }
}
