package espalier.models;

import java.util.List;
import java.util.stream.Stream;

/**
 * Which weights computed a position.
 *
 * @param merged adapters that were merged into the base's weights
 * @param acting adapters that acted there besides
 */
record Voice(List<String> merged, List<String> acting) {

  /** All of them, the merged ones first. */
  List<String> adapters() {
    return Stream.concat(merged.stream(), acting.stream()).toList();
  }

  @Override
  public String toString() {
    if (merged.isEmpty()) {
      return acting.isEmpty() ? "the base" : acting.toString();
    }
    return (acting.isEmpty() ? "the base" : acting) + " over merged " + merged;
  }
}
