package espalier.nn;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.function.Supplier;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.jspecify.annotations.Nullable;

/**
 * The native library as a good guest in the JVM: what must be set before it loads, and its errors
 * as sentences.
 */
public final class Native {

  private static final boolean LINUX = System.getProperty("os.name", "").startsWith("Linux");
  private static final long PAGE = 64 << 10; // a multiple of every page size in use
  private static final int PAGE_OUT = 21; // MADV_PAGEOUT

  private Native() {}

  /**
   * Sets the process up for libtorch; call it before any tensor is made. Later calls do nothing.
   *
   * <p>libtorch's OpenMP threads and OpenBLAS's own threads both spin while they wait. On few cores
   * they take the time from each other: a training step was measured four times slower. OpenBLAS
   * waits 2^26 cycles after a product unless told otherwise; 2^18, a tenth of a millisecond, spans
   * the gaps between the products of decoding and gives up in those of training, which then takes a
   * sixth less processor time.
   */
  public static void prepare() {
    Prepared.now();
  }

  private static final class Prepared {
    static {
      if (System.getenv("OMP_WAIT_POLICY") == null) {
        setEnvironment("OMP_WAIT_POLICY", "PASSIVE");
      }
      if (System.getenv("OPENBLAS_THREAD_TIMEOUT") == null) {
        setEnvironment("OPENBLAS_THREAD_TIMEOUT", "18");
      }
      if (System.getenv("TORCH_CPP_LOG_LEVEL") == null) {
        // Its warnings are for those who write against it, such as that sparse tensors are in beta.
        setEnvironment("TORCH_CPP_LOG_LEVEL", "ERROR");
      }
      // JavaCPP would otherwise take a process larger than twice the Java heap for a leak: it calls
      // the collector over and over and then fails. Model weights are no leak.
      keep("org.bytedeco.javacpp.maxBytes", "0");
      keep("org.bytedeco.javacpp.maxPhysicalBytes", "0");
      settleMemory();
    }

    private static void keep(String property, String value) {
      if (System.getProperty(property) == null) {
        System.setProperty(property, value);
      }
    }

    static void now() {}
  }

  /** Sets how many threads libtorch uses. The same number gives the same bits. */
  public static void threads(int threads) {
    if (threads < 1) {
      throw new IllegalArgumentException(
          "threads is %d but at least 1 is needed; leave it out for one a core".formatted(threads));
    }
    prepare();
    torch.set_num_threads(threads);
  }

  /** How many threads libtorch uses. */
  public static int threads() {
    prepare();
    return torch.get_num_threads();
  }

  /** The sentence in a native error, without the native frames that follow it. */
  public static String message(RuntimeException error) {
    String text = String.valueOf(error.getMessage());
    int frames = text.indexOf("\nException raised from");
    return (frames < 0 ? text : text.substring(0, frames)).strip();
  }

  /** Runs {@code body}; a native error is thrown again with {@code doing} and its sentence only. */
  public static <T> T call(String doing, Supplier<T> body) {
    try {
      return body.get();
    } catch (RuntimeException e) {
      if (e.getClass() != RuntimeException.class) {
        throw e;
      }
      throw new IllegalStateException(doing + ": " + message(e), e);
    }
  }

  private static void setEnvironment(String name, String value) {
    var setenv = function("setenv", ValueLayout.ADDRESS, ValueLayout.ADDRESS, ValueLayout.JAVA_INT);
    if (setenv == null) {
      return; // Windows: its OpenMP has no such policy
    }
    try (Arena arena = Arena.ofConfined()) {
      int _ = (int) setenv.invokeExact(arena.allocateFrom(name), arena.allocateFrom(value), 1);
    } catch (Throwable e) {
      throw new IllegalStateException("setenv failed for " + name, e);
    }
  }

  /**
   * glibc gives each thread an arena of its own that it seldom gives back, and after the first
   * large block is freed it takes all blocks up to 32 MB from that arena, where what a step keeps
   * and what it drops make holes for each other. One arena, and blocks of 8 MB on mapped by
   * themselves, keep the process flat: a LoRA step peaked at 2.0 instead of 2.5 GB at the same
   * speed (from 1 MB on it is 1.7 GB, and half as slow again). What a step has freed at the end of
   * the arena stays for the next step; {@link #trim} gives it back.
   */
  private static void settleMemory() {
    var mallopt = function("mallopt", ValueLayout.JAVA_INT, ValueLayout.JAVA_INT);
    if (mallopt == null) {
      return; // not glibc
    }
    try {
      int _ = (int) mallopt.invokeExact(-8, 1); // M_ARENA_MAX
      int _ = (int) mallopt.invokeExact(-3, 8 << 20); // M_MMAP_THRESHOLD
      int _ = (int) mallopt.invokeExact(-1, 1 << 30); // M_TRIM_THRESHOLD, else 128 KB
    } catch (Throwable e) {
      throw new IllegalStateException("mallopt failed", e);
    }
  }

  /** Gives memory that the C library holds back to the system; where there is no glibc, nothing. */
  public static void trim() {
    var trim = function("malloc_trim", ValueLayout.JAVA_LONG);
    if (trim == null) {
      return;
    }
    try {
      int _ = (int) trim.invokeExact(0L);
    } catch (Throwable e) {
      throw new IllegalStateException("malloc_trim failed", e);
    }
  }

  /**
   * Leaves the memory of a tensor to the system, which drops pages that a file still has. Nothing
   * is lost; reading it again takes longer once. Where that is not known, nothing happens.
   */
  public static void pageOut(Tensor tensor) {
    MethodHandle advise = LINUX ? Advice.MADVISE : null;
    if (advise == null) {
      return;
    }
    try (var _ = new PointerScope()) {
      long from = (tensor.data_ptr().address() + PAGE - 1) / PAGE * PAGE;
      long to =
          (tensor.data_ptr().address() + tensor.numel() * tensor.element_size()) / PAGE * PAGE;
      if (to > from) {
        int _ = (int) advise.invokeExact(from, to - from, PAGE_OUT);
      }
    } catch (Throwable e) {
      throw new IllegalStateException("madvise failed", e);
    }
  }

  private static final class Advice {
    static final @Nullable MethodHandle MADVISE =
        function("madvise", ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT);
  }

  /** A C function that returns int, or null where the C library has none of that name. */
  @SuppressWarnings("restricted")
  private static @Nullable MethodHandle function(String name, MemoryLayout... arguments) {
    Linker linker = Linker.nativeLinker();
    return linker
        .defaultLookup()
        .find(name)
        .map(
            address ->
                linker.downcallHandle(
                    address, FunctionDescriptor.of(ValueLayout.JAVA_INT, arguments)))
        .orElse(null);
  }

  /** The segment's address in the form that libtorch takes. The segment must outlive its use. */
  public static Pointer pointer(MemorySegment segment) {
    return new Address(segment.address());
  }

  private static final class Address extends Pointer {
    Address(long address) {
      super((Pointer) null);
      this.address = address;
    }
  }
}
