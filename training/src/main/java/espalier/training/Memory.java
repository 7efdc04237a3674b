package espalier.training;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.javacpp.Pointer;

/**
 * The memory that this process holds: heap, native tensors and mapped weights together.
 *
 * <p>Linux keeps the peak itself; elsewhere the peak is the largest figure that was seen when
 * {@link #peakBytes} or {@link #residentBytes} was asked.
 */
public final class Memory {

  private static final Memory PROCESS =
      new Memory(Path.of("/proc/self/status"), Path.of("/proc/self/clear_refs"));

  private final Path status;
  private final Path clearRefs;
  private long seen;

  Memory(Path status, Path clearRefs) {
    this.status = status;
    this.clearRefs = clearRefs;
  }

  /** Bytes held now. */
  public static long residentBytes() {
    return PROCESS.resident();
  }

  /** The most bytes held at once since the process began, or since {@link #resetPeak}. */
  public static long peakBytes() {
    return PROCESS.peak();
  }

  /** Lets the peak begin anew at what is held now. Where the system refuses, the old peak stays. */
  public static void resetPeak() {
    PROCESS.reset();
  }

  synchronized long resident() {
    long bytes = kilobytes("VmRSS:") * 1024;
    if (bytes <= 0) {
      bytes = Pointer.physicalBytes(); // what the system reports, on macOS and Windows too
    }
    seen = Math.max(seen, bytes);
    return bytes;
  }

  synchronized long peak() {
    long bytes = kilobytes("VmHWM:") * 1024;
    if (bytes > 0) {
      return bytes;
    }
    long now = resident();
    return Math.max(seen, now);
  }

  synchronized void reset() {
    seen = 0;
    if (Files.isWritable(clearRefs)) {
      try {
        Files.write(clearRefs, "5".getBytes(US_ASCII)); // 5: proc(5), "reset the peak resident set"
      } catch (IOException refused) {
        // A container may forbid it. The peak is then that of the whole process, as documented.
      }
    }
  }

  /** The figure on the line that begins with {@code name}, or 0 where the system has none. */
  private long kilobytes(String name) {
    try {
      for (String line : Files.readAllLines(status, US_ASCII)) {
        if (line.startsWith(name)) {
          return Long.parseLong(line.replaceAll("\\D", ""));
        }
      }
    } catch (IOException | NumberFormatException unavailable) {
      // Not Linux, or a /proc that is closed to us: the caller has another way.
    }
    return 0;
  }
}
