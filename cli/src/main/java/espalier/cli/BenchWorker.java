package espalier.cli;

import espalier.nn.Native;
import espalier.training.Memory;
import java.lang.management.ManagementFactory;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Makes one measurement in this process. */
final class BenchWorker {

  private static final Map<String, BenchSection> SECTIONS =
      Map.ofEntries(
          Map.entry("train", BenchTraining::steps),
          Map.entry("leak", BenchTraining::leak),
          Map.entry("packed", BenchTraining::packed),
          Map.entry("ops", BenchOperations::whole),
          Map.entry("growth_adapters", BenchOperations::growth),
          Map.entry("combine", BenchCombining::measure),
          Map.entry("experts", BenchExperts::measure),
          Map.entry("init", BenchStarts::measure),
          Map.entry("generate", BenchGeneration::measure),
          Map.entry("switch", BenchSwitching::layer),
          Map.entry("switch_model", BenchSwitching::model));

  private BenchWorker() {}

  /** The results beside the parameters of the measurement. */
  static ObjectNode run(BenchInputs inputs, String job) {
    var spec = (ObjectNode) JsonMapper.shared().readTree(job);
    BenchSection section = SECTIONS.get(spec.path("section").asString());
    if (section == null) {
      throw new IllegalArgumentException(
          "the section %s is not known; known are %s"
              .formatted(spec.path("section"), SECTIONS.keySet()));
    }
    Native.threads(inputs.threads());
    ObjectNode record = spec.deepCopy().put("threads", Native.threads());
    section.measure(inputs, spec, record);
    return record;
  }

  /** Notes what this process holds now and held at most, in MB of 10^6 bytes. */
  static void memory(ObjectNode record) {
    record.put("rss_mb", megabytes(Memory.residentBytes()));
    record.put("hwm_mb", megabytes(Memory.peakBytes()));
  }

  /** MB of 10^6 bytes, to one decimal. */
  static double megabytes(long bytes) {
    return Math.round(bytes / 1e5) / 10.0;
  }

  /** How much of the wanted CPU the process gets meanwhile: well below 1 on a busy machine. */
  static void share(ObjectNode record, int threads, Runnable work) {
    var system =
        (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    long before = system.getProcessCpuTime();
    double wall = Timing.once(work);
    double used = (system.getProcessCpuTime() - before) / 1e9;
    record.put("cpu_share", Math.round(1000 * used / (wall * threads)) / 1000.0);
    record.put("load_1min", system.getSystemLoadAverage());
  }
}
