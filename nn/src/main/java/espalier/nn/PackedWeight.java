package espalier.nn;

import java.util.concurrent.atomic.AtomicLong;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A layer's weight once more, in the order in which oneDNN multiplies it by {@linkplain FewRows few
 * rows}: for 8 rows a product was measured up to twice as fast as from the plain order. The copy is
 * made when a weight has been asked for often enough to pay for it, as decoding does, while a
 * quarter of the machine's free memory lasts; what it was made from is left to the system to page
 * out.
 */
final class PackedWeight {

  private static final int ASKED_BEFORE = 8;

  /** Bytes that copies may still take in this process; found out when the first is made. */
  private static final class Budget {
    static final AtomicLong LEFT = new AtomicLong(FreeMemory.bytes() / 4);
  }

  private int asked;
  private boolean refused;
  private @Nullable Tensor packed;
  private long bytes;
  private @Nullable TensorStamp made;

  /**
   * The weight to multiply by, in the caller's scope.
   *
   * @param w [out, in], contiguous float32
   * @param rows how many rows will be multiplied
   */
  synchronized Tensor of(Tensor w, long rows) {
    TensorStamp now = TensorStamp.of(w);
    if (!now.equals(made)) {
      forget();
      made = now;
    }
    if (packed == null && !refused && ++asked > ASKED_BEFORE) {
      pack(w, rows);
    }
    return packed == null ? w : new Tensor(packed);
  }

  private void pack(Tensor w, long rows) {
    long size = w.numel() * w.element_size();
    if (Budget.LEFT.addAndGet(-size) < 0) {
      Budget.LEFT.addAndGet(size);
      refused = true;
      return;
    }
    packed = Scope.owned(() -> FewRows.packed(w, rows));
    bytes = size;
    Native.pageOut(w);
  }

  /** Gives the copy up: the weight's entries are no longer what they were. */
  synchronized void forget() {
    if (packed != null) {
      packed.close();
      packed = null;
      Budget.LEFT.addAndGet(bytes);
    }
    asked = 0;
    refused = false;
    made = null;
  }
}
