package espalier.checkpoints;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Copy-on-write mapping of a file that one may only read: POSIX has it, the JDK does not. */
final class PosixMapping {

  // The same numbers on Linux and macOS.
  private static final int O_RDONLY = 0;
  private static final int PROT_READ_WRITE = 1 | 2;
  private static final int MAP_PRIVATE = 2;

  // Else a model larger than the memory is refused, since each of its pages might be written.
  private static final int MAP_NORESERVE =
      System.getProperty("os.name").startsWith("Mac") ? 0x40 : 0x4000;

  private PosixMapping() {}

  /** The mapping, unmapped as {@code arena} closes, or null where this way does not work. */
  @SuppressWarnings("restricted")
  static @Nullable MemorySegment of(Path path, long size, Arena arena) {
    MethodHandle open = function("open", JAVA_INT, ADDRESS, JAVA_INT);
    MethodHandle mmap =
        function("mmap", ADDRESS, ADDRESS, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_LONG);
    MethodHandle munmap = function("munmap", JAVA_INT, ADDRESS, JAVA_LONG);
    MethodHandle close = function("close", JAVA_INT, JAVA_INT);
    if (open == null || mmap == null || munmap == null || close == null) {
      return null;
    }
    try (Arena names = Arena.ofConfined()) {
      int file = (int) open.invokeExact(names.allocateFrom(path.toString()), O_RDONLY);
      if (file < 0) {
        return null;
      }
      var address =
          (MemorySegment)
              mmap.invokeExact(
                  MemorySegment.NULL, size, PROT_READ_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0L);
      int _ = (int) close.invokeExact(file); // the mapping holds the file by itself
      if (address.address() == -1) {
        return null;
      }
      return address.reinterpret(size, arena, mapped -> unmap(munmap, mapped, size));
    } catch (Throwable e) {
      throw new IllegalStateException("mmap of " + path + " failed", e);
    }
  }

  private static void unmap(MethodHandle munmap, MemorySegment mapped, long size) {
    try {
      int _ = (int) munmap.invokeExact(mapped, size);
    } catch (Throwable e) {
      throw new IllegalStateException("munmap failed", e);
    }
  }

  @SuppressWarnings("restricted")
  private static @Nullable MethodHandle function(
      String name, MemoryLayout result, MemoryLayout... arguments) {
    Linker linker = Linker.nativeLinker();
    return linker
        .defaultLookup()
        .find(name)
        .map(at -> linker.downcallHandle(at, FunctionDescriptor.of(result, arguments)))
        .orElse(null);
  }
}
