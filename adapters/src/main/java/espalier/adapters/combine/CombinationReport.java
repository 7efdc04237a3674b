package espalier.adapters.combine;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * How a combination came out.
 *
 * @param type what was done; {@code linear} for one source
 * @param rank of the result
 * @param errors by layer: distance from the exact weighted sum of the sources' updates, relative to
 *     it, in the Frobenius norm; infinite where the sum is zero and the result is not
 * @param warnings what the user should know, sentences
 */
public record CombinationReport(
    CombinationType type, int rank, Map<String, Double> errors, List<String> warnings) {

  /** Copies the collections. */
  public CombinationReport {
    errors = Collections.unmodifiableMap(new LinkedHashMap<>(errors));
    warnings = List.copyOf(warnings);
  }

  /** A report with a warning about large errors. */
  static CombinationReport of(
      CombinationType type, int rank, Map<String, Double> errors, List<String> warnings) {
    var all = new ArrayList<>(warnings);
    LargeErrors.among(errors.values())
        .ifPresent(
            large ->
                all.add(
                    "%s differs from the exact weighted sum by more than %s; %s"
                        .formatted(
                            type.word(),
                            large.text("of it"),
                            type == CombinationType.SVD
                                ? "use a larger svd_rank, or cat"
                                : "cat, or svd with rank enough, gives the sum")));
    return new CombinationReport(type, rank, errors, all);
  }

  /** The largest error of a layer. */
  public double largestError() {
    return errors.values().stream().reduce(0.0, Math::max);
  }
}
