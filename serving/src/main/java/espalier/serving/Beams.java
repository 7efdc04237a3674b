package espalier.serving;

/**
 * A search for an answer that is likely as a whole, instead of one token after the other.
 *
 * <pre>{@code
 * generator.generate(prompts, Sampling.greedy(), Beams.of(4).withLengthPenalty(0.8));
 * }</pre>
 *
 * <p>An answer's score is the sum of its tokens' log-probabilities divided by the number of tokens
 * to the power of {@code lengthPenalty}.
 *
 * @param number how many beginnings are followed at a time; 1 is no search but takes the most
 *     likely token always
 * @param lengthPenalty more than 0 favours long answers, less than 0 short ones
 * @param earlyStopping when the search ends
 * @see <a href="https://arxiv.org/abs/1609.08144">Wu et al. 2016, section 7</a>, on scores by
 *     length
 */
public record Beams(int number, double lengthPenalty, EarlyStopping earlyStopping) {

  public Beams {
    if (number < 1) {
      throw new IllegalArgumentException(
          "the number of beams is %d but must be 1 or more; 4 is usual".formatted(number));
    }
    if (!Double.isFinite(lengthPenalty)) {
      throw new IllegalArgumentException(
          "lengthPenalty is %s but must be finite; 1 is usual, 0 does not look at the length"
              .formatted(lengthPenalty));
    }
  }

  /** So many beams, a length penalty of 1, and {@link EarlyStopping#FALSE}. */
  public static Beams of(int number) {
    return new Beams(number, 1, EarlyStopping.FALSE);
  }

  public Beams withLengthPenalty(double lengthPenalty) {
    return new Beams(number, lengthPenalty, earlyStopping);
  }

  public Beams withEarlyStopping(EarlyStopping earlyStopping) {
    return new Beams(number, lengthPenalty, earlyStopping);
  }
}
