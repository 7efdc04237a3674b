package espalier.serving;

import java.util.Arrays;
import java.util.Comparator;
import java.util.function.Predicate;
import java.util.stream.IntStream;

/**
 * The search for one prompt's answer: the beginnings that are followed, the answers that have
 * ended, and whether it is worth going on. Sums are float32, as in the Python reference, so that
 * near ties fall the same way.
 */
final class Hypotheses {

  /** Less than any sum of log-probabilities: not there yet, or out of the race. */
  private static final float OUT = -1e9f;

  private final Beams beams;
  private final int maxNewTokens;
  private final Predicate<int[]> ends;
  private int[][] running;
  private float[] scores; // of running, falling
  private int[] parents; // the beam that each running one goes on from
  private int[][] answers;
  private float[] answerScores; // falling
  private boolean[] answered; // whether answers has one at that place
  private boolean improvable = true;
  private boolean done;

  /**
   * A search that has seen no token yet.
   *
   * @param ends whether an answer ends with the last of these tokens
   */
  Hypotheses(Beams beams, int maxNewTokens, Predicate<int[]> ends) {
    this.beams = beams;
    this.maxNewTokens = maxNewTokens;
    this.ends = ends;
    int number = beams.number();
    running = new int[number][0];
    answers = new int[number][0];
    parents = IntStream.range(0, number).toArray();
    scores = new float[number];
    // All begin alike, so the first tokens are those of one of them.
    Arrays.fill(scores, 1, number, OUT);
    answerScores = new float[number];
    Arrays.fill(answerScores, OUT);
    answered = new boolean[number];
  }

  /**
   * Goes on with the best candidates.
   *
   * @param sums of log-probabilities with one more token, falling; more than there are beams
   * @param places beam · vocabulary + token of each
   */
  void step(float[] sums, long[] places, int vocabulary) {
    int[][] longer = new int[sums.length][];
    boolean[] over = new boolean[sums.length];
    int length = running[0].length + 1;
    for (int i = 0; i < sums.length; i++) {
      int[] before = running[(int) (places[i] / vocabulary)];
      longer[i] = Arrays.copyOf(before, length);
      longer[i][length - 1] = (int) (places[i] % vocabulary);
      over[i] = length == maxNewTokens || ends.test(longer[i]);
    }
    end(longer, sums, over);
    goOn(longer, sums, over, places, vocabulary);
    boolean full = allAnswered() && beams.earlyStopping() == EarlyStopping.TRUE;
    improvable &= canImprove(length);
    done = !improvable || full || allOf(over);
  }

  /**
   * Takes those that have ended among the answers, if they are better than those that are there.
   */
  private void end(int[][] longer, float[] sums, boolean[] over) {
    int number = beams.number();
    float penalty = penalty(longer[0].length);
    int[][] all = Arrays.copyOf(answers, number + longer.length);
    float[] allScores = Arrays.copyOf(answerScores, all.length);
    boolean[] known = Arrays.copyOf(answered, all.length);
    for (int i = 0; i < longer.length; i++) {
      // Those behind the first ones are there to go on with, not to end.
      boolean ended = over[i] && i < number;
      all[number + i] = longer[i];
      allScores[number + i] = sums[i] / penalty + (ended ? 0 : OUT);
      known[number + i] = ended;
    }
    int[] best = best(allScores);
    answers = pick(all, best);
    answerScores = pick(allScores, best);
    boolean[] kept = new boolean[number];
    for (int i = 0; i < number; i++) {
      kept[i] = known[best[i]];
    }
    answered = kept;
  }

  private void goOn(int[][] longer, float[] sums, boolean[] over, long[] places, int vocabulary) {
    float[] left = sums.clone();
    for (int i = 0; i < left.length; i++) {
      left[i] += over[i] ? OUT : 0;
    }
    int[] best = best(left);
    running = pick(longer, best);
    scores = pick(left, best);
    parents = Arrays.stream(best).map(i -> (int) (places[i] / vocabulary)).toArray();
  }

  private boolean canImprove(int length) {
    boolean longest = beams.earlyStopping() == EarlyStopping.NEVER && beams.lengthPenalty() > 0;
    float best = scores[0] / penalty(longest ? maxNewTokens : length);
    float worst = allAnswered() ? answerScores[answerScores.length - 1] : OUT;
    return best > worst;
  }

  private float penalty(int length) {
    return (float) Math.pow(length, beams.lengthPenalty());
  }

  private boolean allAnswered() {
    return allOf(answered);
  }

  private static boolean allOf(boolean[] flags) {
    for (boolean flag : flags) {
      if (!flag) {
        return false;
      }
    }
    return true;
  }

  /** Places of the largest values, of equals the first. */
  private int[] best(float[] values) {
    return IntStream.range(0, values.length)
        .boxed()
        .sorted(Comparator.comparing((Integer i) -> values[i], Comparator.reverseOrder()))
        .limit(beams.number())
        .mapToInt(Integer::intValue)
        .toArray();
  }

  private static int[][] pick(int[][] from, int[] places) {
    return Arrays.stream(places).mapToObj(i -> from[i]).toArray(int[][]::new);
  }

  private static float[] pick(float[] from, int[] places) {
    float[] picked = new float[places.length];
    for (int i = 0; i < picked.length; i++) {
      picked[i] = from[places[i]];
    }
    return picked;
  }

  /** Whether nothing better is to be found. */
  boolean done() {
    return done;
  }

  /** The sums of the running beams. */
  float[] scores() {
    return scores;
  }

  /** The beam before the last step that each running one goes on from. */
  int[] parents() {
    return parents;
  }

  /** The token that each running beam goes on with. */
  int[] last() {
    return Arrays.stream(running).mapToInt(ids -> ids[ids.length - 1]).toArray();
  }

  /** The tokens of the best answer, or of the best beginning where none has ended yet. */
  int[] best() {
    return answered[0] ? answers[0] : running[0];
  }
}
