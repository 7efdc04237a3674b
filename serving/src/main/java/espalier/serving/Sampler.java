package espalier.serving;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.where;

import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Chooses the next token of each row of a batch.
 *
 * <p>What is of the size of the vocabulary stays native; Java sees one number a row where all rows
 * are greedy, and otherwise a row's most likely tokens with the logarithm of the sum over all.
 */
final class Sampler {

  /** Candidates beyond the k asked for, so that a tie with the last of them is seen as one. */
  private static final int SLACK = 8;

  /** Candidates where k is not given. Language models put nearly all that they expect in these. */
  private static final int USUAL = 128;

  private final long[] endIds;

  /**
   * A sampler for one model.
   *
   * @param endIds the tokens that end a text
   */
  Sampler(int[] endIds) {
    this.endIds = Arrays.stream(endIds).asLongStream().toArray();
  }

  /**
   * Chooses.
   *
   * @param logits [rows, vocabulary]; float32 ones may be written to
   * @param rows the history of each row; its random stream moves on by one number
   * @return the token of each row
   */
  int[] choose(Tensor logits, List<History> rows) {
    Tensor scores = adjusted(logits, rows);
    double[] u = rows.stream().mapToDouble(History::next).toArray();
    return rows.stream().allMatch(row -> row.sampling().isGreedy())
        ? mostLikely(scores)
        : drawn(scores, rows, u);
  }

  /** The logits in float32, after what changes them token by token. */
  Tensor adjusted(Tensor logits, List<History> rows) {
    Tensor scores = logits.to(ScalarType.Float);
    penalise(scores, rows);
    forbidEnds(scores, rows);
    return scores;
  }

  private static int[] mostLikely(Tensor scores) {
    Tensor best = scores.argmax(new LongOptional(1), true); // [rows, 1], the first of equals
    double[] read = read(best, scores.gather(1, best));
    int[] ids = new int[read.length / 2];
    for (int row = 0; row < ids.length; row++) {
      check(read[2 * row + 1]);
      ids[row] = (int) read[2 * row];
    }
    return ids;
  }

  private static int[] drawn(Tensor scores, List<History> rows, double[] u) {
    int[] ids = new int[u.length];
    for (int row = 0; row < ids.length; row++) {
      ids[row] = Shortlist.BEYOND;
    }
    long size = first(rows);
    while (true) {
      boolean done = true;
      Candidates[] candidates = candidates(scores, rows, size);
      for (int row = 0; row < ids.length; row++) {
        if (ids[row] == Shortlist.BEYOND) {
          Shortlist list = candidates[row].shortlist(rows.get(row).sampling());
          ids[row] = list == null ? Shortlist.BEYOND : list.draw(u[row]);
          done &= ids[row] != Shortlist.BEYOND;
        }
      }
      if (done) {
        return ids;
      }
      size *= 16;
    }
  }

  private static long first(List<History> rows) {
    return rows.stream()
        .mapToInt(row -> row.sampling().topK() > 0 ? row.sampling().topK() + SLACK : USUAL)
        .max()
        .orElse(USUAL);
  }

  /** The {@code size} largest of each row, or all if there are not so many. */
  static Candidates[] candidates(Tensor scores, List<History> rows, long size) {
    int count = (int) Math.min(size, scores.size(1));
    var top = scores.topk(count, 1, true, true);
    double[] read =
        read(top.get0(), top.get1(), logTotals(scores, top.get0().narrow(1, 0, 1), rows));
    var candidates = new Candidates[rows.size()];
    for (int row = 0; row < candidates.length; row++) {
      int at = row * (2 * count + 1);
      double[] logits = new double[count];
      int[] ids = new int[count];
      for (int i = 0; i < count; i++) {
        logits[i] = read[at + i];
        ids[i] = (int) read[at + count + i];
      }
      check(logits[0]);
      candidates[row] = new Candidates(ids, logits, read[at + 2 * count], count == scores.size(1));
    }
    return candidates;
  }

  /** log Σ exp((score - largest) / temperature) of each row, [rows, 1]. */
  private static Tensor logTotals(Tensor scores, Tensor largest, List<History> rows) {
    if (rows.stream().allMatch(row -> row.sampling().isGreedy() || row.sampling().topK() > 0)) {
      return largest; // nobody asks for the sum, and it goes over the whole vocabulary
    }
    float[] temperatures = new float[rows.size()];
    for (int row = 0; row < temperatures.length; row++) {
      Sampling sampling = rows.get(row).sampling();
      temperatures[row] = sampling.isGreedy() ? 1 : (float) sampling.temperature();
    }
    return scores
        .sub(largest) // so that a low temperature does not cost the sum its digits
        .div_(column(temperatures, scores))
        .logsumexp(new long[] {1}, true);
  }

  /** Keskar et al. 2019, equation 3, made to work for negative logits too. */
  private static void penalise(Tensor scores, List<History> rows) {
    int longest = rows.stream().mapToInt(History::distinct).max().orElse(0);
    if (longest == 0) {
      return;
    }
    long[] index = new long[rows.size() * longest];
    float[] penalties = new float[rows.size()];
    for (int row = 0; row < penalties.length; row++) {
      History history = rows.get(row);
      int at = row * longest;
      history.copySeen(index, at);
      // A short row is filled up with its first token again: the same value is written twice.
      Arrays.fill(index, at + history.distinct(), at + longest, index[at]);
      penalties[row] = history.distinct() == 0 ? 1 : (float) history.sampling().repetitionPenalty();
    }
    Tensor places = tensor(index).view(rows.size(), longest).to(scores.device(), ScalarType.Long);
    Tensor penalty = column(penalties, scores);
    Tensor before = scores.gather(1, places);
    Tensor after = where(before.lt(new Scalar(0)), before.mul(penalty), before.div(penalty));
    scores.scatter_(1, places, after);
  }

  private void forbidEnds(Tensor scores, List<History> rows) {
    if (endIds.length == 0 || rows.stream().allMatch(History::mayEnd)) {
      return;
    }
    Tensor ends = tensor(endIds).to(scores.device(), ScalarType.Long);
    var never = new Scalar(Double.NEGATIVE_INFINITY);
    for (int row = 0; row < rows.size(); row++) {
      if (!rows.get(row).mayEnd()) {
        scores.select(0, row).index_fill_(0, ends, never);
      }
    }
  }

  private static Tensor column(float[] values, Tensor like) {
    return tensor(values).view(values.length, 1).to(like.device(), ScalarType.Float);
  }

  /** The tensors side by side, row after row, in one copy: it waits for the device once. */
  static double[] read(Tensor... parts) {
    var columns = new TensorVector();
    for (Tensor part : parts) {
      columns.push_back(part.to(ScalarType.Double)); // exact for token ids
    }
    Tensor joined = cat(columns, 1).cpu();
    double[] values = new double[(int) joined.numel()];
    joined.data_ptr_double().get(values);
    return values;
  }

  static void check(double best) {
    if (!Double.isFinite(best)) {
      throw new IllegalStateException(
          "the model's largest logit is %s, so no token can be chosen; weights or an adapter are not finite, or a half-precision run overflowed: try another dtype or adapter"
              .formatted(best));
    }
  }
}
