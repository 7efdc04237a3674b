package espalier.nn;

import static org.bytedeco.pytorch.global.torch.elementSize;
import static org.bytedeco.pytorch.global.torch.empty;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A block of memory that the C library maps by itself, for tensors that lie in it one after
 * another. It goes back to the system with the last handle to it or to a tensor in it.
 */
final class SharedBlock implements AutoCloseable {

  /** Bytes of a block. The system gives pages as they are first written to. */
  static final long BYTES = 16L << 20;

  private static final long ALIGNMENT = 64; // a multiple of every element's size

  private final Tensor memory =
      Scope.owned(() -> uninitialised(ScalarType.Byte, new long[] {BYTES}));
  private long used;

  /** Bytes that are taken. */
  long used() {
    return used;
  }

  /** Takes what was given since {@code used} bytes were taken for free again. */
  void reuseFrom(long used) {
    this.used = used;
  }

  /** Whether a tensor fits behind those that are there. */
  boolean fits(ScalarType dtype, long[] shape) {
    return used + bytes(dtype, shape) <= BYTES;
  }

  /** The tensor after those that are there, uninitialised and contiguous. */
  Tensor take(ScalarType dtype, long[] shape) {
    Tensor tensor = uninitialised(dtype, new long[] {0});
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      // No view: each has a version of its own, by which autograd sees what was written to.
      tensor.set_(memory.storage(), used / elementSize(dtype), shape);
    }
    used = Math.ceilDiv(used + bytes(dtype, shape), ALIGNMENT) * ALIGNMENT;
    return tensor;
  }

  long address() {
    return memory.data_ptr().address();
  }

  static long bytes(ScalarType dtype, long[] shape) {
    long bytes = elementSize(dtype);
    for (long size : shape) {
      bytes *= size;
    }
    return bytes;
  }

  static Tensor uninitialised(ScalarType dtype, long[] shape) {
    return empty(shape, new TensorOptions(dtype), new MemoryFormatOptional());
  }

  @Override
  public void close() {
    memory.close();
  }
}
