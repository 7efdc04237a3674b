package espalier.adapters.calibration;

import java.util.function.Consumer;

/**
 * How a calibration goes on beside its numbers.
 *
 * @param ranks the processes that calibrate together
 * @param memory bytes that averaged gradients may take at once; 0 for a quarter of what is free
 * @param progress told, line by line, what is done
 * @param warnings told what the user should know
 */
public record CalibrationOptions(
    Ranks ranks, long memory, Consumer<String> progress, Consumer<String> warnings) {

  /** One process, a quarter of the free memory, and nobody is told anything. */
  public static CalibrationOptions defaults() {
    return new CalibrationOptions(Ranks.alone(), 0, _ -> {}, _ -> {});
  }

  /** The same with other processes. */
  public CalibrationOptions withRanks(Ranks together) {
    return new CalibrationOptions(together, memory, progress, warnings);
  }

  /** The same with another limit on the gradients. */
  public CalibrationOptions withMemory(long bytes) {
    return new CalibrationOptions(ranks, bytes, progress, warnings);
  }

  /** The same, telling of the progress. */
  public CalibrationOptions withProgress(Consumer<String> told) {
    return new CalibrationOptions(ranks, memory, told, warnings);
  }

  /** The same, telling of warnings. */
  public CalibrationOptions withWarnings(Consumer<String> told) {
    return new CalibrationOptions(ranks, memory, progress, told);
  }
}
