package espalier.cli;

import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.node.ObjectNode;

/**
 * Seconds of some repetitions.
 *
 * @param seconds one or more
 */
record Timing(List<Double> seconds) {

  Timing {
    seconds = List.copyOf(seconds);
  }

  /** Times a piece of work. */
  static Timing of(int reps, int warmUp, Runnable work) {
    for (int i = 0; i < warmUp; i++) {
      work.run();
    }
    var seconds = new ArrayList<Double>();
    for (int i = 0; i < reps; i++) {
      seconds.add(once(work));
    }
    return new Timing(seconds);
  }

  /** Seconds of one piece of work. */
  static double once(Runnable work) {
    long start = System.nanoTime();
    work.run();
    return (System.nanoTime() - start) / 1e9;
  }

  double min() {
    return seconds.stream().mapToDouble(Double::doubleValue).min().orElseThrow();
  }

  double median() {
    return median(seconds);
  }

  /** The middle one, or the mean of the two in the middle. */
  static double median(List<Double> values) {
    if (values.isEmpty()) {
      throw new IllegalArgumentException("there is no median of nothing; give a value or more");
    }
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    int middle = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  /** As the results hold it. */
  ObjectNode summary() {
    return Output.row()
        .put("min_s", rounded(min()))
        .put("median_s", rounded(median()))
        .put("reps", seconds.size());
  }

  private static double rounded(double seconds) {
    return Math.round(seconds * 1e6) / 1e6;
  }
}
