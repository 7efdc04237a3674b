package espalier.adapters.calibration;

import espalier.nn.BlasThreads;
import espalier.nn.Native;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.jspecify.annotations.Nullable;

/**
 * Work side by side: pieces that know nothing of each other, such as the decompositions of the
 * layers of a model, each on one thread of its own.
 */
public final class SideBySide {

  private SideBySide() {}

  /**
   * Does {@code work} for each item, as many at a time as libtorch has threads, without gradients
   * and each in a scope of its own. What an item gives does not depend on the number of threads.
   *
   * @throws RuntimeException what {@code work} threw, of the first item if several failed; no new
   *     item is begun after that
   */
  public static <T> void each(List<T> items, Consumer<T> work) {
    int threads = Math.min(Native.threads(), items.size());
    var next = new AtomicInteger();
    var failures = new AtomicReference<Failure>();
    Runnable worker =
        () -> {
          for (int i = next.getAndIncrement();
              i < items.size() && failures.get() == null;
              i = next.getAndIncrement()) {
            try (var _ = new PointerScope();
                var _ = new NoGradGuard()) {
              work.accept(items.get(i));
            } catch (RuntimeException | Error e) {
              var failure = new Failure(i, e);
              failures.accumulateAndGet(failure, Failure::earlier);
            }
          }
        };
    try (var _ = BlasThreads.one()) {
      var others = new ArrayList<Thread>();
      for (int i = 1; i < threads; i++) {
        others.add(Thread.ofPlatform().name("espalier-side-" + i).start(worker));
      }
      worker.run();
      others.forEach(SideBySide::join);
    }
    Failure failure = failures.get();
    if (failure != null) {
      failure.rethrow();
    }
  }

  // Tensors that the caller frees may be in use until the thread has ended, so it waits in any
  // case.
  private static void join(Thread thread) {
    boolean interrupted = false;
    while (true) {
      try {
        thread.join();
        break;
      } catch (InterruptedException _) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private record Failure(int item, Throwable cause) {

    static Failure earlier(@Nullable Failure one, Failure other) {
      return one == null || other.item < one.item ? other : one;
    }

    void rethrow() {
      switch (cause) {
        case RuntimeException e -> throw e;
        case Error e -> throw e;
        default -> throw new IllegalStateException(cause);
      }
    }
  }
}
