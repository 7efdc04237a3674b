package espalier.adapters.shira;

import espalier.adapters.Violations;
import org.jspecify.annotations.Nullable;

/**
 * Settings that the reference does not have: {@code mask_options} in files, written only where they
 * differ from the defaults.
 *
 * @param calibrationBatches batches that the gradient of {@code gradient} and {@code snip} is
 *     averaged over, 1 or more
 * @param perLayerSeed whether layers of equal shape get different random masks
 * @param frequency whole lines of {@code struct}, or null for as many as fit
 * @param compact whether files hold the gaps between entries, a byte each, or rows and columns,
 *     four bytes each in most models; null for gaps where the reference needs neither because it
 *     draws the same entries again, and rows and columns where it does not
 * @param conv1d whether GPT-2's Conv1D is adapted too, {@code shira_conv1d} in files; rows and
 *     columns there are those of the matrix as it is stored, [in, out]. Only for this library to
 *     read
 */
public record MaskOptions(
    int calibrationBatches,
    boolean perLayerSeed,
    @Nullable Integer frequency,
    @Nullable Boolean compact,
    boolean conv1d) {

  static final MaskOptions DEFAULTS = new MaskOptions(8, false, null, null, false);

  /** Checks the numbers. */
  public MaskOptions {
    new Violations()
        .unless(
            calibrationBatches >= 1,
            "mask_options.calibration_batches is %d but must be 1 or more; 8 is the default",
            calibrationBatches)
        .unless(
            frequency == null || frequency >= 0,
            "mask_options.frequency is %d but is a number of lines, 0 or more",
            frequency == null ? 0 : frequency)
        .raise();
  }

  /**
   * Eight batches, one seed for all layers, as many lines as fit, small files that the reference
   * reads.
   */
  public static MaskOptions defaults() {
    return DEFAULTS;
  }

  /** The same with another number of calibration batches. */
  public MaskOptions withCalibrationBatches(int batches) {
    return new MaskOptions(batches, perLayerSeed, frequency, compact, conv1d);
  }

  /** The same with a seed for each layer, or one for all. */
  public MaskOptions withPerLayerSeed(boolean on) {
    return new MaskOptions(calibrationBatches, on, frequency, compact, conv1d);
  }

  /** The same with another number of whole lines. */
  public MaskOptions withFrequency(@Nullable Integer lines) {
    return new MaskOptions(calibrationBatches, perLayerSeed, lines, compact, conv1d);
  }

  /**
   * The same with gaps in files, or rows and columns.
   *
   * @param on null for the smaller one that the reference reads
   */
  public MaskOptions withCompact(@Nullable Boolean on) {
    return new MaskOptions(calibrationBatches, perLayerSeed, frequency, on, conv1d);
  }

  /** The same with GPT-2's Conv1D, or with linear layers alone. */
  public MaskOptions withConv1d(boolean on) {
    return new MaskOptions(calibrationBatches, perLayerSeed, frequency, compact, on);
  }
}
