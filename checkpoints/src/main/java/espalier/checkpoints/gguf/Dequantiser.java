package espalier.checkpoints.gguf;

import static org.bytedeco.pytorch.global.torch.empty;

import espalier.checkpoints.CheckpointException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.LongStream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Turns blocks of a file into tensors: bytes to a small buffer, floats to another, and from there
 * straight into the tensor's memory.
 *
 * <p>Runs of rows are shared out over the JVM's common pool, which has a thread a core. Each writes
 * to memory of its own and no sum is formed across them, so the result does not depend on who did
 * what.
 */
final class Dequantiser {

  /** Elements read at once: a multiple of each block size, and small enough for the cache. */
  private static final int BUFFER = 8192;

  /** Elements that are worth handing to another thread. */
  private static final long SHARE = 1 << 17;

  private final Path path;
  private final MemorySegment file;

  Dequantiser(Path path, MemorySegment file) {
    this.path = path;
    this.file = file;
  }

  /** The tensor in the current scope. */
  Tensor read(TensorSource source, ScalarType type) {
    ScalarType dtype = type.intern(); // a dtype asked from a tensor is an object of its own
    if (dtype != ScalarType.Float && dtype != ScalarType.BFloat16) {
      throw new IllegalArgumentException(
          "%s was asked for as %s, but float32 (Float) and bfloat16 (BFloat16) can be read"
              .formatted(source.info().name(), dtype));
    }
    PointerScope outer = PointerScope.getInnerScope();
    try (var _ = new PointerScope()) {
      long[] shape = source.shape().stream().mapToLong(Long::longValue).toArray();
      Tensor tensor = empty(shape, new TensorOptions(dtype), new MemoryFormatOptional());
      fill(tensor, source, dtype);
      if (source.layout() instanceof Layout.Transposed) {
        tensor = tensor.t().contiguous();
      }
      if (outer == null) {
        tensor.retainReference();
      } else {
        outer.attach(tensor);
      }
      return tensor;
    }
  }

  @SuppressWarnings("restricted") // the tensor's own memory, of the size that it was made with
  private void fill(Tensor tensor, TensorSource source, ScalarType dtype) {
    long elements = source.rowCount() * source.rowElements();
    int size = dtype == ScalarType.Float ? Float.BYTES : Short.BYTES;
    MemorySegment out =
        MemorySegment.ofAddress(tensor.data_ptr().address()).reinterpret(elements * size);
    long rowsOfShare = Math.max(1, SHARE / source.rowElements());
    long shares = Math.ceilDiv(source.rowCount(), rowsOfShare);
    var failure = new AtomicReference<Throwable>();
    // A failure must not leave the loop: the other threads would go on writing into a tensor that
    // the caller's scope has freed.
    LongStream.range(0, shares)
        .parallel()
        .forEach(
            share -> {
              try {
                long from = share * rowsOfShare;
                long to = Math.min(source.rowCount(), from + rowsOfShare);
                new Share(source, out, dtype).read(from, to);
              } catch (RuntimeException | Error e) {
                failure.compareAndSet(null, e);
              }
            });
    rethrow(failure.get(), source);
  }

  private void rethrow(@Nullable Throwable failure, TensorSource source) {
    switch (failure) {
      case null -> {}
      case IllegalStateException closed ->
          throw new IllegalStateException(
              "%s was closed before %s was read".formatted(path, source.info().name()), closed);
      // How the JVM reports that a mapped page is no longer there.
      case InternalError gone ->
          throw new CheckpointException(
              "%s, byte %d: %s can not be read; the file was changed while it was open"
                  .formatted(path, source.info().offset(), source.info().name()),
              gone);
      case Error error -> throw error;
      default -> throw (RuntimeException) failure;
    }
  }

  /** One thread's run of rows, with its buffers. */
  private final class Share {

    private final TensorSource source;
    private final BlockFormat format;
    private final MemorySegment out;
    private final boolean bfloat16;
    private final float minus;
    private final byte[] blocks;
    private final float[] floats;
    private final short[] halves;

    Share(TensorSource source, MemorySegment out, ScalarType dtype) {
      this.source = source;
      this.out = out;
      format = source.info().format();
      bfloat16 = dtype == ScalarType.BFloat16;
      minus = source.layout() instanceof Layout.PlusOne ? 1 : 0;
      int buffer = (int) Math.min(BUFFER, source.rowElements());
      blocks = new byte[buffer / format.elements() * format.bytes()];
      floats = new float[buffer];
      halves = new short[bfloat16 ? buffer : 0];
    }

    void read(long fromRow, long toRow) {
      for (long row = fromRow; row < toRow; row++) {
        long from = source.offset(row);
        long to = row * source.rowElements();
        long left = source.rowElements();
        while (left > 0) {
          int count = (int) Math.min(left, floats.length);
          from += read(from, count);
          write(to, count);
          to += count;
          left -= count;
        }
      }
    }

    /** Reads {@code count} elements from byte {@code from} on; the bytes that they take. */
    private int read(long from, int count) {
      int blockCount = count / format.elements();
      int bytes = blockCount * format.bytes();
      MemorySegment.copy(file, ValueLayout.JAVA_BYTE, from, blocks, 0, bytes);
      for (int block = 0; block < blockCount; block++) {
        format.dequantise(blocks, block * format.bytes(), floats, block * format.elements());
      }
      if (minus != 0) {
        for (int i = 0; i < count; i++) {
          floats[i] -= minus;
        }
      }
      return bytes;
    }

    private void write(long element, int count) {
      if (bfloat16) {
        for (int i = 0; i < count; i++) {
          halves[i] = bfloat16(floats[i]);
        }
        MemorySegment.copy(halves, 0, out, ValueLayout.JAVA_SHORT, element * Short.BYTES, count);
      } else {
        MemorySegment.copy(floats, 0, out, ValueLayout.JAVA_FLOAT, element * Float.BYTES, count);
      }
    }
  }

  /** Rounds to the nearest bfloat16, ties to even, as libtorch does. */
  static short bfloat16(float value) {
    if (Float.isNaN(value)) {
      return 0x7fc0;
    }
    int bits = Float.floatToRawIntBits(value);
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }
}
