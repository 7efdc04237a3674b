package espalier.checkpoints;

import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.from_blob;

import espalier.nn.Native;
import espalier.nn.PrivateMemory;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A file in memory, and tensors that lie on it without a copy. The mapping is private: writing to
 * such a tensor changes this process's copy of the page, never the file.
 *
 * <p>The memory is given back when the file is closed <em>and</em> the last tensor on it has died,
 * views and what autograd keeps included, in whatever order and on whatever thread that happens. A
 * tensor on memory that is gone would end the JVM, so closing the file early is safe, and so is
 * never closing a tensor; both only keep address space.
 *
 * <p>As with any mapped file, another program that cuts the file shorter while it is mapped brings
 * the process down. Replacing it by a rename, as {@link AtomicFiles} does, is harmless.
 */
public final class MappedFile implements AutoCloseable {

  private final Path path;
  private final Arena arena;
  private final MemorySegment bytes;
  // The open file counts as one, each tensor storage as one more.
  private final AtomicInteger holders = new AtomicInteger(1);
  private volatile boolean closed;

  private MappedFile(Path path, Arena arena, MemorySegment bytes) {
    this.path = path;
    this.arena = arena;
    this.bytes = bytes;
  }

  /**
   * Maps a whole file, of any size.
   *
   * @throws CheckpointException if it is missing, empty, a folder, or not readable
   */
  @SuppressWarnings("MustBeClosedChecker") // closed when the last holder lets go
  public static MappedFile open(Path path) {
    Native.prepare();
    // Shared, because a tensor may die on any thread.
    Arena arena = Arena.ofShared();
    try {
      var file = new MappedFile(path, arena, PrivateMapping.of(path, arena));
      Storages.put(file);
      return file;
    } catch (IOException e) {
      arena.close();
      throw CannotRead.of(path, e);
    } catch (RuntimeException e) {
      arena.close();
      throw e;
    }
  }

  public Path path() {
    return path;
  }

  /** The length in bytes. */
  public long size() {
    return bytes.byteSize();
  }

  /** The content, read-only; valid until this file is closed. */
  public MemorySegment bytes() {
    refuseIfClosed();
    return bytes.asReadOnly();
  }

  /**
   * A tensor over bytes of this file; a fresh one each call, in the caller's scope. Bytes that are
   * not aligned to the dtype's item size are copied, all others are seen in place.
   *
   * @param offset of the first byte in the file
   * @param dtype how to read the bytes; little-endian
   * @param shape each size 0 or more
   * @throws IllegalArgumentException if the tensor would reach outside of the file
   * @throws IllegalStateException if this file is closed
   */
  public Tensor tensor(long offset, ScalarType dtype, long... shape) {
    var item = ItemType.of(dtype);
    long count = 1;
    for (long size : shape) {
      if (size < 0) {
        throw new IllegalArgumentException(
            "a size of a tensor is %d but 0 is the least".formatted(size));
      }
      count = Math.multiplyExact(count, size);
    }
    long length = Math.multiplyExact(count, item.bytes());
    if (offset < 0 || offset > size() - length) {
      throw new IllegalArgumentException(
          "%d bytes at byte %d reach outside of %s, which has %d"
              .formatted(length, offset, path, size()));
    }
    refuseIfClosed();
    if (length == 0) {
      return empty(shape, item.options(), null);
    }
    Pointer data = Native.pointer(bytes.asSlice(offset));
    return data.address() % item.bytes() == 0
        ? inPlace(data, item.options(), shape)
        : copy(data, length, item.options(), shape);
  }

  private Tensor inPlace(Pointer data, TensorOptions options, long[] shape) {
    hold();
    PrivateMemory.announce(data.address());
    // Should this throw, one holder too many remains and the memory is never given back. That is
    // the safe side: whether libtorch has called the release by then cannot be known.
    return from_blob(data, shape, Storages.RELEASE, options);
  }

  private Tensor copy(Pointer data, long length, TensorOptions options, long[] shape) {
    hold();
    try {
      Tensor copy = empty(shape, options, null);
      Pointer.memcpy(copy.data_ptr(), data, length);
      return copy;
    } finally {
      release();
    }
  }

  private void hold() {
    if (holders.getAndUpdate(n -> n == 0 ? 0 : n + 1) == 0) {
      throw closedAlready();
    }
  }

  void release() {
    if (holders.decrementAndGet() == 0) {
      Storages.remove(this); // before the unmapping: the next file may get the same address
      try {
        arena.close();
      } catch (IllegalStateException _) {
        // Someone reads bytes() at this moment. The mapping then stays, which costs address space.
      }
    }
  }

  long address() {
    return bytes.address();
  }

  /** Whether the memory is still there, for tests. */
  boolean mapped() {
    return arena.scope().isAlive();
  }

  private void refuseIfClosed() {
    if (closed) {
      throw closedAlready();
    }
  }

  private IllegalStateException closedAlready() {
    return new IllegalStateException(
        path + " is closed; read its tensors before, they outlive the file by themselves");
  }

  /** Ends reading. Tensors that were handed out stay valid. Closing twice is harmless. */
  @Override
  public void close() {
    boolean first;
    synchronized (this) {
      first = !closed;
      closed = true;
    }
    if (first) {
      release();
    }
  }
}
