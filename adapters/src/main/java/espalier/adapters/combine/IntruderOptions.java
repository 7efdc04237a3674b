package espalier.adapters.combine;

import espalier.adapters.Violations;

/**
 * What counts as an intruder dimension, and what is done with it.
 *
 * @param topK how many of the largest singular vectors of the adapted weight are looked at
 * @param epsilon a vector whose largest |cosine| with the base's is below this is an intruder
 * @param lambda a part of each intruder, in [0, 1]
 * @param meaning what is done with that part
 */
public record IntruderOptions(int topK, double epsilon, double lambda, Meaning meaning) {

  /** What {@code lambda} is the part of. */
  public enum Meaning {
    /** The part that stays, as the reference computes: 0.75 takes a quarter away. */
    KEPT,
    /** The part that is taken away, as the reference's help says. */
    REMOVED
  }

  /** Checks the numbers. */
  public IntruderOptions {
    new Violations()
        .unless(topK >= 1, "top_k is %d but at least 1 vector is looked at; 10 is usual", topK)
        .unless(
            epsilon >= 0,
            "epsilon is %s but |cosines| are 0 or more; 0.5 is usual",
            String.valueOf(epsilon))
        .unless(
            lambda >= 0 && lambda <= 1,
            "lambda is %s but a part lies in [0, 1]; 0.75 is usual",
            String.valueOf(lambda))
        .raise();
  }

  /** The reference's values: the top 10, below 0.5, of which 0.75 is kept. */
  public static IntruderOptions defaults() {
    return new IntruderOptions(10, 0.5, 0.75, Meaning.KEPT);
  }

  /** The same, looking at another number of vectors. */
  public IntruderOptions withTopK(int count) {
    return new IntruderOptions(count, epsilon, lambda, meaning);
  }

  /** The same with another limit of the cosine. */
  public IntruderOptions withEpsilon(double limit) {
    return new IntruderOptions(topK, limit, lambda, meaning);
  }

  /** The same with another part, and what it means. */
  public IntruderOptions withLambda(double part, Meaning of) {
    return new IntruderOptions(topK, epsilon, part, of);
  }

  /** The part of an intruder that is taken away. */
  double removed() {
    return switch (meaning) {
      case KEPT -> 1 - lambda;
      case REMOVED -> lambda;
    };
  }
}
