package espalier.serving;

import java.util.Arrays;
import java.util.BitSet;
import java.util.SplittableRandom;

/** What choosing a row's next token depends on, besides the logits. */
final class History {

  private final Sampling sampling;
  private final SplittableRandom random;
  private final BitSet known = new BitSet();
  private long[] seen = new long[0]; // each token once, in order of appearance
  private int distinct;
  private int generated;

  /**
   * The history of a row before its first token.
   *
   * @param start the tokens before it that the repetition penalty counts
   */
  History(Sampling sampling, int[] start) {
    this.sampling = sampling;
    random = new SplittableRandom(sampling.seed());
    for (int id : start) {
      see(id);
    }
  }

  private History(History other) {
    sampling = other.sampling;
    random = other.random.split();
    known.or(other.known);
    seen = other.seen.clone();
    distinct = other.distinct;
    generated = other.generated;
  }

  /** A history that begins with this one and goes its own way; its random stream is another. */
  History copy() {
    return new History(this);
  }

  Sampling sampling() {
    return sampling;
  }

  /** Takes the token that was chosen. */
  void add(int id) {
    generated++;
    see(id);
  }

  private void see(int id) {
    if (sampling.repetitionPenalty() == 1 || known.get(id)) {
      return;
    }
    known.set(id);
    if (distinct == seen.length) {
      seen = Arrays.copyOf(seen, Math.max(64, 2 * distinct));
    }
    seen[distinct++] = id;
  }

  /** The next number of this row's own stream, in [0, 1). One is taken a token, needed or not. */
  double next() {
    return random.nextDouble();
  }

  /** How many different tokens the penalty falls on; 0 without a penalty. */
  int distinct() {
    return distinct;
  }

  /** Writes the tokens that the penalty falls on to {@code to}, from {@code at} on. */
  void copySeen(long[] to, int at) {
    System.arraycopy(seen, 0, to, at, distinct);
  }

  /** Whether the model may end the row with the token after this. */
  boolean mayEnd() {
    return generated >= sampling.minNewTokens();
  }
}
