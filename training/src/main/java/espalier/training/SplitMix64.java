package espalier.training;

/**
 * The generator that orders examples: SplitMix64, written out here because the JDK promises the
 * numbers of its own generators only release by release, and a resumed run must meet the order it
 * left.
 *
 * @see <a href="https://doi.org/10.1145/2714064.2660195">Steele, Lea and Flood: Fast Splittable
 *     Pseudorandom Number Generators, OOPSLA 2014, figure 17</a>
 */
final class SplitMix64 {

  private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

  private long state;

  SplitMix64(long state) {
    this.state = state;
  }

  /**
   * A generator for one epoch of one seed.
   *
   * <p>Seed and epoch are mixed rather than added: states that differ by a multiple of the golden
   * gamma give the same numbers, only shifted, so neighbouring epochs would resemble each other.
   */
  static SplitMix64 of(long seed, int epoch) {
    return new SplitMix64(mix(mix(seed) + epoch));
  }

  long next() {
    state += GOLDEN_GAMMA;
    return mix(state);
  }

  /** A number in [0, {@code bound}), each equally likely. */
  int below(int bound) {
    // The high half of a product maps 64 random bits onto the range. Its bias is below
    // bound / 2^64, which no run can see, so nothing is rejected and one draw is one step.
    return (int) Math.unsignedMultiplyHigh(next(), bound);
  }

  /** Reorders {@code values} by Fisher and Yates, from the last place down. */
  void shuffle(int[] values) {
    for (int i = values.length - 1; i > 0; i--) {
      int j = below(i + 1);
      int swapped = values[i];
      values[i] = values[j];
      values[j] = swapped;
    }
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
