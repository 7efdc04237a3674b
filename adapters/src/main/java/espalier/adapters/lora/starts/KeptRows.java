package espalier.adapters.lora.starts;

import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The rows of the layers' inputs in batches that come again, as long as there is room. */
final class KeptRows implements AutoCloseable {

  /** Bytes that all rows together may take. */
  private static final long ROOM = 256L << 20;

  private final IdentityHashMap<Object, Map<String, List<Tensor>>> byBatch =
      new IdentityHashMap<>();
  private long largest; // bytes of a batch
  private long taken;

  /** The rows of a batch by path, a tensor a call, or null if they were not kept. */
  @Nullable Map<String, List<Tensor>> of(EvaBatch batch) {
    return batch.data() == null ? null : byBatch.get(batch.data());
  }

  /** Tells how much a batch may take. */
  void expect(long bytes) {
    largest = Math.max(largest, bytes);
  }

  /** Whether there is room for another batch. */
  boolean room() {
    return taken + largest <= ROOM;
  }

  /** Keeps a copy of the rows of a call. */
  void put(Object data, String path, Tensor rows) {
    byBatch
        .computeIfAbsent(data, _ -> new HashMap<>())
        .computeIfAbsent(path, _ -> new ArrayList<>())
        .add(Scope.own(rows.clone()));
    taken += rows.nbytes();
  }

  @Override
  public void close() {
    byBatch
        .values()
        .forEach(layers -> layers.values().forEach(rows -> rows.forEach(Tensor::close)));
    byBatch.clear();
  }
}
