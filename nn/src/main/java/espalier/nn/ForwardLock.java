package espalier.nn;

import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.Supplier;

/**
 * Keeps forward passes and changes of a model apart: a change waits for the passes under way, which
 * end with what they began with, and passes that come later see all of it.
 */
public final class ForwardLock {

  private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();

  /** Runs a forward pass; any number run side by side, and one may hold others. */
  public <T> T forward(Supplier<T> pass) {
    lock.readLock().lock();
    try {
      return pass.get();
    } finally {
      lock.readLock().unlock();
    }
  }

  /**
   * Makes a change while no forward pass runs.
   *
   * @throws IllegalStateException from within a forward pass, which would wait for itself
   */
  public void change(Runnable change) {
    if (lock.getReadHoldCount() > 0) {
      throw new IllegalStateException(
          "the model can not be changed from within a forward pass; let the pass end first");
    }
    lock.writeLock().lock();
    try {
      change.run();
    } finally {
      lock.writeLock().unlock();
    }
  }
}
