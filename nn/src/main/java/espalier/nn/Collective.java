package espalier.nn;

import static org.bytedeco.pytorch.global.torch.zeros;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Ranks that compute one model together, as one of them sees it. Every rank must call the same
 * operations in the same order with tensors of the same shape and dtype; a rank that waits in vain
 * gets an error.
 */
public interface Collective extends AutoCloseable {

  /** The number of this rank, from 0. */
  int rank();

  /** How many ranks there are. */
  int size();

  /** The threads of libtorch for each rank, where all of them share this machine's cores. */
  default int shareOfCores() {
    return Math.max(1, Runtime.getRuntime().availableProcessors() / size());
  }

  /**
   * Replaces a tensor by the sum of those of all ranks, which has the same bits on each of them.
   *
   * @param tensor of any shape; autograd does not see that it is written to
   */
  void sum(Tensor tensor);

  /** Replaces a tensor by that of rank 0. */
  void broadcast(Tensor tensor);

  /**
   * The tensors of all ranks.
   *
   * @param part [...]
   * @return [ranks, ...] in the order of the ranks, in the caller's scope
   */
  Tensor gather(Tensor part);

  /**
   * Has rank 0 do something, such as writing a file, while the others wait for it.
   *
   * @throws IllegalStateException on the others if rank 0 failed
   */
  default void first(Runnable body) {
    try (var _ = new PointerScope()) {
      Tensor failed = zeros(1);
      try {
        if (rank() == 0) {
          body.run();
        }
      } catch (RuntimeException | Error e) {
        failed.fill_(new Scalar(1));
        throw e;
      } finally {
        sum(failed);
      }
      if (failed.item_float() > 0) {
        throw new IllegalStateException(
            "rank %d waited for rank 0, which failed; its own error says why".formatted(rank()));
      }
    }
  }

  /** Whether something holds on every rank. */
  default boolean all(boolean here) {
    try (var _ = new PointerScope()) {
      Tensor missing = zeros(1);
      if (!here) {
        missing.fill_(new Scalar(1));
      }
      sum(missing);
      return missing.item_float() == 0;
    }
  }

  /** The sum of a number over the ranks, the same bits on each of them. */
  default double sum(double here) {
    try (var _ = new PointerScope()) {
      Tensor all = number(here);
      sum(all);
      return all.item_double();
    }
  }

  /** Rank 0's number, whatever the others have. */
  default double agreed(double here) {
    try (var _ = new PointerScope()) {
      Tensor first = number(here);
      broadcast(first);
      return first.item_double();
    }
  }

  private static Tensor number(double value) {
    return zeros(new long[] {1}, new TensorOptions(ScalarType.Double)).fill_(new Scalar(value));
  }

  /** Leaves the others; their next operation fails. */
  @Override
  void close();
}
