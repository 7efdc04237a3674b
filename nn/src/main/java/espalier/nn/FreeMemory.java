package espalier.nn;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/** How much memory of the machine may be counted on. */
public final class FreeMemory {

  private static final Path LINUX = Path.of("/proc/meminfo");

  private FreeMemory() {}

  /**
   * Bytes of the machine's memory that can be taken, also those that now cache files; within a
   * container what its limit leaves.
   */
  public static long bytes() {
    var system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    boolean limited = system.getTotalMemorySize() < ofLinux("MemTotal:");
    long available = limited ? -1 : ofLinux("MemAvailable:");
    return Math.max(available, system.getFreeMemorySize());
  }

  /** What the kernel says, or -1 on other systems. */
  private static long ofLinux(String name) {
    if (!Files.isReadable(LINUX)) {
      return -1;
    }
    try (Stream<String> lines = Files.lines(LINUX)) {
      return lines
          .filter(line -> line.startsWith(name))
          .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
          .findFirst()
          .orElse(-1);
    } catch (IOException e) {
      return -1;
    }
  }
}
