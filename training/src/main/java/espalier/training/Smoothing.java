package espalier.training;

/**
 * The line through a noisy loss: an exponential mean whose reach is a twentieth of the run, free of
 * the pull towards its start that a plain one has.
 *
 * @see <a href="https://arxiv.org/abs/1412.6980">Adam, section 3, for the correction</a>
 */
final class Smoothing {

  private Smoothing() {}

  /** Smooths {@code values}. NaN and infinities are passed over: the line goes on as it was. */
  static double[] of(double[] values) {
    double keep = 1 - 2 / (Math.max(1, values.length / 20) + 1.0);
    double[] smooth = new double[values.length];
    double sum = 0;
    double weight = 0;
    for (int i = 0; i < values.length; i++) {
      if (Double.isFinite(values[i])) {
        sum = keep * sum + (1 - keep) * values[i];
        weight = keep * weight + (1 - keep);
      }
      smooth[i] = weight > 0 ? sum / weight : Double.NaN;
    }
    return smooth;
  }
}
