package espalier.checkpoints;

import espalier.nn.PrivateMemory;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.PointerConsumer;

/** Tells a {@link MappedFile} when a tensor storage on its memory has died. */
final class Storages {

  private static final ConcurrentSkipListMap<Long, MappedFile> BY_ADDRESS =
      new ConcurrentSkipListMap<>();

  /**
   * What libtorch calls when such a storage dies. One object for all storages, for ever: native
   * code holds a callback weakly, and one that was freed or collected before its call would end the
   * JVM. The address that comes with the call says which file is meant.
   */
  static final PointerConsumer RELEASE = new Release().retainReference();

  private Storages() {}

  static void put(MappedFile file) {
    BY_ADDRESS.put(file.address(), file);
  }

  static void remove(MappedFile file) {
    BY_ADDRESS.remove(file.address());
  }

  private static final class Release extends PointerConsumer {

    @Override
    public void call(Pointer data) {
      try {
        PrivateMemory.forget(data.address());
        Map.Entry<Long, MappedFile> at = BY_ADDRESS.floorEntry(data.address());
        if (at != null) {
          at.getValue().release();
        }
      } catch (Throwable _) {
        // It would pass through a C++ destructor, which ends the process. Not releasing is
        // harmless.
      }
    }
  }
}
