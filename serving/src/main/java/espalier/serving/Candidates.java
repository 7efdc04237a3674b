package espalier.serving;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The most likely tokens of one row, the most likely first and of equals the lowest id first. Every
 * token that is not among them is less likely than each that is.
 */
/*
 * A vocabulary has tens of thousands of tokens and a draw needs some dozens, so the rest is known
 * only by its sum. Where that is not enough to decide, the answer is null and the caller comes back
 * with more candidates: a flat distribution costs more, and none is cut off unasked.
 */
final class Candidates {

  private final int[] ids;
  private final double[] logits;
  private final int size;
  private final double logTotal;
  private final boolean whole;

  /**
   * Takes tokens as a selection of the largest gives them.
   *
   * @param ids the tokens; may be reordered
   * @param logits their logits, falling
   * @param logTotal log Σ exp((logit - largest) / temperature) over the whole vocabulary
   * @param whole whether no token is missing
   */
  Candidates(int[] ids, double[] logits, double logTotal, boolean whole) {
    this.ids = ids;
    this.logits = logits;
    this.logTotal = logTotal;
    this.whole = whole;
    int end = logits.length;
    while (!whole && end > 0 && logits[end - 1] == logits[logits.length - 1]) {
      end--; // others with the same logit may have been left out by chance
    }
    size = end;
    for (int from = 0, to; from < size; from = to) {
      to = from + 1;
      while (to < size && logits[to] == logits[from]) {
        to++;
      }
      Arrays.sort(ids, from, to);
    }
  }

  /**
   * The tokens that {@code sampling} leaves to draw from, or null if more candidates are needed.
   */
  @Nullable Shortlist shortlist(Sampling sampling) {
    if (size == 0) {
      return null;
    }
    if (sampling.isGreedy()) {
      return new Shortlist(ids, new double[] {1}, 1);
    }
    int count = size;
    boolean open = !whole; // whether less likely tokens may follow the last
    if (sampling.topK() > 0) {
      if (size < sampling.topK() && !whole) {
        return null;
      }
      count = tiesWith(Math.min(sampling.topK(), size) - 1);
      open = false;
    }
    double[] weights = weights(count, sampling.temperature());
    double[] upTo = sums(weights);
    double total = sampling.topK() > 0 ? upTo[count - 1] : Math.exp(logTotal);
    if (sampling.topP() < 1) {
      int nucleus = nucleus(upTo, sampling.topP() * total);
      if (nucleus > 0) {
        count = nucleus;
        open = false;
      } else if (open) {
        return null;
      }
    }
    if (sampling.minP() > 0) {
      int likely = 1;
      while (likely < count && weights[likely] >= sampling.minP()) {
        likely++;
      }
      if (likely < count) {
        count = likely;
        open = false;
      } else if (open) {
        return null;
      }
    }
    return new Shortlist(ids, Arrays.copyOf(upTo, count), open ? total : upTo[count - 1]);
  }

  /** How many candidates have at least the logit of the one at {@code last}. */
  private int tiesWith(int last) {
    int count = last + 1;
    while (count < size && logits[count] == logits[last]) {
      count++;
    }
    return count;
  }

  /** Probabilities up to a common factor; the first is 1. */
  private double[] weights(int count, double temperature) {
    double[] weights = new double[count];
    for (int i = 0; i < count; i++) {
      weights[i] = Math.exp((logits[i] - logits[0]) / temperature);
    }
    return weights;
  }

  private static double[] sums(double[] weights) {
    double[] sums = new double[weights.length];
    double sum = 0;
    for (int i = 0; i < weights.length; i++) {
      sum += weights[i];
      sums[i] = sum;
    }
    return sums;
  }

  /**
   * How many candidates it takes until their sum is at least {@code mass}; 0 if all are too few.
   */
  private static int nucleus(double[] upTo, double mass) {
    for (int i = 0; i < upTo.length; i++) {
      if (upTo[i] >= mass) {
        return i + 1;
      }
    }
    return 0;
  }
}
