package espalier.adapters.combine;

import java.util.Collection;
import java.util.Locale;
import java.util.Optional;

/**
 * Layers on which a result is so far from what it stands for that the user is warned.
 *
 * @param count how many they are
 * @param of how many layers there are
 * @param most the largest error, relative, in the Frobenius norm
 */
record LargeErrors(long count, int of, double most) {

  /** From here on the user is warned. */
  private static final double LARGE = 0.1;

  /** The errors of layers that are large, if any are. */
  static Optional<LargeErrors> among(Collection<Double> errors) {
    long count = errors.stream().filter(error -> error > LARGE).count();
    double most = errors.stream().reduce(0.0, Math::max);
    return count == 0 ? Optional.empty() : Optional.of(new LargeErrors(count, errors.size(), most));
  }

  /** How far and where, to follow "more than". */
  String text(String ofWhat) {
    return String.format(
        Locale.ROOT, "%.1f %s on %d of %d layers, %.3g at most", LARGE, ofWhat, count, of, most);
  }
}
