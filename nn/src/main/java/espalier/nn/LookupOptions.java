package espalier.nn;

import org.jspecify.annotations.Nullable;

/**
 * How an embedding looks rows up, with libtorch's words for it.
 *
 * @param paddingIndex the row that gets no gradient, or -1 for none
 * @param maxNorm the norm that a longer row is scaled down to when it is looked up, or null; the
 *     table itself is not written to
 * @param normType p of the p-norm that is meant
 * @param scaleGradByFreq whether a trained row's gradient is divided by how often it was looked up
 * @param sparse whether the gradient of a trained table has the rows alone that were looked up
 */
public record LookupOptions(
    long paddingIndex,
    @Nullable Double maxNorm,
    double normType,
    boolean scaleGradByFreq,
    boolean sparse) {

  /** Checks the norm. */
  public LookupOptions {
    if (maxNorm != null && !(maxNorm > 0 && normType > 0)) {
      throw new IllegalArgumentException(
          "max_norm is %s with norm_type %s but both must be above 0; null scales no row"
              .formatted(maxNorm, normType));
    }
  }

  /** A plain lookup, with or without a padding row. */
  public static LookupOptions padded(long paddingIndex) {
    return new LookupOptions(paddingIndex, null, 2, false, false);
  }

  /** The same with rows no longer than this in the given p-norm. */
  public LookupOptions withMaxNorm(double norm, double p) {
    return new LookupOptions(paddingIndex, norm, p, scaleGradByFreq, sparse);
  }

  /** The same with another form of the gradient of a trained table. */
  public LookupOptions withGradient(boolean byFrequency, boolean rowsAlone) {
    return new LookupOptions(paddingIndex, maxNorm, normType, byFrequency, rowsAlone);
  }
}
