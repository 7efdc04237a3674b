package espalier.training;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/** What a run ran on, for its report; nothing that names the owner or the host. */
public final class Machine {

  private Machine() {}

  /** The facts, each under its name, in the order to show them. */
  public static Map<String, String> facts() {
    var facts = new LinkedHashMap<String, String>();
    facts.put("System", System.getProperty("os.name") + " on " + System.getProperty("os.arch"));
    String processor = processor(Path.of("/proc/cpuinfo"));
    if (!processor.isEmpty()) {
      facts.put("Processor", processor);
    }
    facts.put("Cores", Integer.toString(Runtime.getRuntime().availableProcessors()));
    if (ManagementFactory.getOperatingSystemMXBean()
        instanceof com.sun.management.OperatingSystemMXBean system) {
      facts.put(
          "Memory", String.format(Locale.ROOT, "%.1f GiB", system.getTotalMemorySize() / 0x1p30));
    }
    facts.put(
        "Java",
        "%s, %s".formatted(Runtime.version(), System.getProperty("java.vm.name", "unknown")));
    return Collections.unmodifiableMap(facts);
  }

  /** The name that Linux gives the processor; empty elsewhere. */
  static String processor(Path cpuinfo) {
    try {
      for (String line : Files.readAllLines(cpuinfo)) {
        if (line.startsWith("model name")) {
          return line.substring(line.indexOf(':') + 1).strip();
        }
      }
    } catch (IOException notLinux) {
      // the report does without
    }
    return "";
  }
}
