package espalier.adapters.hirasb;

import java.util.function.Consumer;

/**
 * How a calibration goes on beside its numbers.
 *
 * @param ranks the processes that calibrate together
 * @param progress told, line by line, what is done
 * @param warnings told what the user should know
 */
public record CalibrationOptions(
    Ranks ranks, Consumer<String> progress, Consumer<String> warnings) {

  /** One process, and nobody is told anything. */
  public static CalibrationOptions defaults() {
    return new CalibrationOptions(Ranks.alone(), _ -> {}, _ -> {});
  }

  /** The same with other processes. */
  public CalibrationOptions withRanks(Ranks together) {
    return new CalibrationOptions(together, progress, warnings);
  }

  /** The same, telling of the progress. */
  public CalibrationOptions withProgress(Consumer<String> told) {
    return new CalibrationOptions(ranks, told, warnings);
  }

  /** The same, telling of warnings. */
  public CalibrationOptions withWarnings(Consumer<String> told) {
    return new CalibrationOptions(ranks, progress, told);
  }
}
