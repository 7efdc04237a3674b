package espalier.nn;

import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Storage;
import org.bytedeco.pytorch.Tensor;

/**
 * Which tensors may be written to in place: those that nobody else holds, over memory that libtorch
 * allocated itself or that was announced here as private to the process. Anything else, such as a
 * mapped file of a caller's own, might be read-only, and writing to it would end the JVM.
 */
public final class PrivateMemory {

  /** How many live storages start at an address. */
  private static final ConcurrentHashMap<Long, Integer> STORAGES = new ConcurrentHashMap<>();

  private PrivateMemory() {}

  /** Announces a storage over memory that may be written to, such as a copy-on-write mapping. */
  public static void announce(long address) {
    STORAGES.merge(address, 1, Integer::sum);
  }

  /** Takes an announcement back as the storage dies. */
  public static void forget(long address) {
    STORAGES.computeIfPresent(address, (_, count) -> count == 1 ? null : count - 1);
  }

  /** Whether the owner of this handle is the only one that sees the tensor's memory. */
  static boolean isSolelyHeld(Tensor tensor) {
    try (var _ = new PointerScope()) {
      Storage storage = tensor.storage();
      return tensor.use_count() == 1
          && storage.use_count() == 1
          && (storage.resizable() || STORAGES.getOrDefault(storage.data().address(), 0) == 1);
    }
  }
}
