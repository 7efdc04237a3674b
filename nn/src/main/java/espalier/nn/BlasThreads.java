package espalier.nn;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * Keeps the BLAS below libtorch on the threads that call it, until it is closed.
 *
 * <p>A decomposition of a small matrix is a thousand small products, and OpenBLAS lets its threads
 * meet at each of them: with two threads on two busy cores the eigenvalues of a 350 x 350 matrix
 * were measured to take 800 ms of processor time, with one 20 ms. Such work is better spread by the
 * caller, a matrix to a thread.
 *
 * <pre>{@code
 * try (var _ = BlasThreads.one()) {
 *   ... linalg_eigh(small, lower) ...
 * }
 * }</pre>
 *
 * <p>The setting is one for the process: what other threads multiply meanwhile takes longer, and is
 * right. Several may be open at once. Where the BLAS is another one it does nothing.
 */
public final class BlasThreads implements AutoCloseable {

  private static int open;
  private static int before;

  private boolean closed;

  private BlasThreads() {}

  /** One thread a caller from now on. */
  public static synchronized BlasThreads one() {
    if (open++ == 0) {
      before = OpenBlas.threads();
      if (before > 1) {
        OpenBlas.threads(1);
      }
    }
    return new BlasThreads();
  }

  @Override
  public void close() {
    synchronized (BlasThreads.class) {
      if (!closed && --open == 0 && before > 1) {
        OpenBlas.threads(before);
      }
      closed = true;
    }
  }

  private static final class OpenBlas {

    private static final @Nullable MethodHandle SET =
        function("openblas_set_num_threads", FunctionDescriptor.ofVoid(ValueLayout.JAVA_INT));
    private static final @Nullable MethodHandle GET =
        function("openblas_get_num_threads", FunctionDescriptor.of(ValueLayout.JAVA_INT));

    @SuppressWarnings("restricted")
    private static @Nullable MethodHandle function(String name, FunctionDescriptor type) {
      int _ = Native.threads(); // loads the libraries
      var address = Loader.addressof(name);
      return address == null
          ? null
          : Linker.nativeLinker().downcallHandle(MemorySegment.ofAddress(address.address()), type);
    }

    /** 1 where there is no OpenBLAS. */
    static int threads() {
      if (GET == null || SET == null) {
        return 1;
      }
      try {
        return (int) GET.invokeExact();
      } catch (Throwable e) {
        throw new IllegalStateException("openblas_get_num_threads failed", e);
      }
    }

    static void threads(int threads) {
      if (SET == null) {
        return;
      }
      try {
        SET.invokeExact(threads);
      } catch (Throwable e) {
        throw new IllegalStateException("openblas_set_num_threads failed", e);
      }
    }
  }
}
