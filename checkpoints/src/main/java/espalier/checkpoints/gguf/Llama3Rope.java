package espalier.checkpoints.gguf;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * The stretching of rotary positions that Llama 3.1 brought. A file does not hold its four settings
 * but what they come to: a number for each frequency that it is divided by, 1 for the fast ones,
 * {@code factor} for the slow ones, and a ramp between. This finds settings that give these
 * numbers.
 *
 * @param factor that slow frequencies are divided by
 * @param low cycles in the original context up to which a frequency is slow
 * @param high cycles from which it is fast
 * @param context positions of the original context
 */
record Llama3Rope(double factor, double low, double high, double context) {

  /** Far above float32's rounding of the file's numbers, far below what another setting gives. */
  private static final double TOLERANCE = 1e-4;

  /**
   * Settings that give {@code divisors}, one a frequency from fast to slow; empty if there are
   * none.
   *
   * @param theta base of the frequencies
   */
  static Optional<Llama3Rope> from(float[] divisors, double theta) {
    double factor = divisors[divisors.length - 1];
    if (!(factor > 1) || Double.isInfinite(factor)) {
      return Optional.empty();
    }
    // All released models have these three. Only the ratios of the three can be seen in the
    // numbers, so the known ones are tried before any others that would give the same.
    var released = new Llama3Rope(factor, 1, 4, 8192);
    return Optional.of(released)
        .filter(rope -> rope.gives(divisors, theta))
        .or(() -> solved(divisors, theta).filter(rope -> rope.gives(divisors, theta)));
  }

  /** As {@code rope_scaling} in a config. */
  Map<String, Object> config() {
    Map<String, Object> scaling = new LinkedHashMap<>();
    scaling.put("rope_type", "llama3");
    scaling.put("factor", factor);
    scaling.put("low_freq_factor", low);
    scaling.put("high_freq_factor", high);
    scaling.put("original_max_position_embeddings", (long) context);
    return scaling;
  }

  private boolean gives(float[] divisors, double theta) {
    for (int i = 0; i < divisors.length; i++) {
      double expected = divisor(cycles(i, divisors.length, theta));
      if (!(Math.abs(divisors[i] - expected) <= TOLERANCE * expected)) {
        return false;
      }
    }
    return true;
  }

  /** What a frequency is divided by that turns {@code cycles} times a position. */
  private double divisor(double cycles) {
    double inContext = context * cycles;
    double smooth = Math.clamp((inContext - low) / (high - low), 0, 1);
    return 1 / ((1 - smooth) / factor + smooth);
  }

  /**
   * Fits the ramp, which is straight over the frequency: smooth = a cycles - b, with a = context /
   * (high - low) and b = low / (high - low); {@code low} is taken as 1.
   */
  private static Optional<Llama3Rope> solved(float[] divisors, double theta) {
    double factor = divisors[divisors.length - 1];
    int first = -1;
    int last = -1;
    for (int i = 0; i < divisors.length; i++) {
      if (divisors[i] > 1 + TOLERANCE && divisors[i] < factor * (1 - TOLERANCE)) {
        first = first < 0 ? i : first;
        last = i;
      }
    }
    if (first == last) {
      return Optional.empty(); // a line takes two points
    }
    double fast = cycles(first, divisors.length, theta);
    double slow = cycles(last, divisors.length, theta);
    double a = (smooth(divisors[first], factor) - smooth(divisors[last], factor)) / (fast - slow);
    double b = a * slow - smooth(divisors[last], factor);
    double high = Math.rint((1 + 1 / b) * 1e4) / 1e4; // what a person would have written
    return Optional.of(new Llama3Rope(factor, 1, high, Math.rint(a / b)));
  }

  private static double smooth(double divisor, double factor) {
    return (1 / divisor - 1 / factor) / (1 - 1 / factor);
  }

  private static double cycles(int i, int count, double theta) {
    return Math.pow(theta, -(double) i / count) / (2 * Math.PI);
  }
}
