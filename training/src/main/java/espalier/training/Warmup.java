package espalier.training;

/** How many optimizer steps the learning rate takes to rise to its full value. */
public sealed interface Warmup {

  /** The number of warm-up steps in a run of {@code totalSteps}. */
  int steps(int totalSteps);

  /** No warm-up: the first step already uses the full rate. */
  static Warmup none() {
    return new Steps(0);
  }

  /**
   * Reads the {@code warmup} of a recipe: below 1 it is a part of the run, from 1 on a number of
   * steps.
   *
   * @throws IllegalArgumentException if {@code value} is negative, not a number, or above 1 with a
   *     fraction
   */
  static Warmup of(double value) {
    if (!(value >= 0) || (value >= 1 && (value != Math.rint(value) || value > Integer.MAX_VALUE))) {
      throw new IllegalArgumentException(
          "warmup is %s but must be a part of the run such as 0.03, or a whole number of steps such as 100"
              .formatted(value));
    }
    return value < 1 ? new Fraction(value) : new Steps((int) value);
  }

  /**
   * A fixed number of steps.
   *
   * @param count steps, 0 or more
   */
  record Steps(int count) implements Warmup {

    public Steps {
      if (count < 0) {
        throw new IllegalArgumentException(
            "warmup is %d steps but cannot be negative; 0 turns it off".formatted(count));
      }
    }

    @Override
    public int steps(int totalSteps) {
      return count;
    }
  }

  /**
   * A part of the run, rounded up to whole steps.
   *
   * @param part of the run, in [0, 1]
   */
  record Fraction(double part) implements Warmup {

    public Fraction {
      if (!(part >= 0 && part <= 1)) {
        throw new IllegalArgumentException(
            "warmup is %s of the run but must lie in [0, 1]; 0 turns it off".formatted(part));
      }
    }

    @Override
    public int steps(int totalSteps) {
      // 0.07 * 100 is 7.000000000000001 in binary: without the allowance it would become 8 steps.
      return (int) Math.ceil(part * totalSteps - 1e-9);
    }
  }
}
