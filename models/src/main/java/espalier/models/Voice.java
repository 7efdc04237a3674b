package espalier.models;

import java.util.List;

/**
 * Which weights computed a position.
 *
 * @param merged adapters that were merged into the base's weights
 * @param acting adapters that acted there besides
 */
record Voice(List<String> merged, List<String> acting) {

  @Override
  public String toString() {
    if (merged.isEmpty()) {
      return acting.isEmpty() ? "the base" : acting.toString();
    }
    return (acting.isEmpty() ? "the base" : acting) + " over merged " + merged;
  }
}
