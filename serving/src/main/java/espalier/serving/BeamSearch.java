package espalier.serving;

import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The searches of several prompts, which go through the model together: row prompt · beams + beam
 * of the batch is one beam of one of them.
 *
 * <p>The prompts are read once each; only then do their rows become as many as there are beams.
 */
final class BeamSearch {

  private final Decoding decoding;
  private final Sampler sampler;
  private final int beams;
  private final int candidates;
  private List<Hypotheses> searches; // those that the model still reads
  private List<History> histories = new ArrayList<>(); // of each row

  /**
   * @param ends how many tokens end a text
   * @param searches one a prompt, with equally many beams
   * @param starts what the repetition penalty counts of each prompt
   */
  BeamSearch(
      Decoding decoding,
      Sampler sampler,
      int beams,
      int ends,
      List<Hypotheses> searches,
      List<History> starts) {
    this.decoding = decoding;
    this.sampler = sampler;
    this.beams = beams;
    // Even if each beam's best tokens all end it, there are enough left to go on with.
    this.candidates = Math.max(2, 1 + ends) * beams;
    this.searches = List.copyOf(searches);
    for (History start : starts) {
      IntStream.range(0, beams).forEach(_ -> histories.add(start.copy()));
    }
  }

  /**
   * Reads the prompts and searches to the end, or until the thread is interrupted.
   *
   * @return whether it came to the end
   */
  boolean run(List<int[]> prompts) {
    first(prompts);
    while (!searches.isEmpty()) {
      if (Thread.currentThread().isInterrupted()) {
        return false;
      }
      try (var _ = Scope.open()) {
        int[] last = searches.stream().flatMapToInt(s -> Arrays.stream(s.last())).toArray();
        step(decoding.read(last));
      }
      reorder();
    }
    return true;
  }

  private void first(List<int[]> prompts) {
    try (var _ = Scope.open()) {
      Tensor logits = decoding.read(prompts);
      step(repeated(logits));
    }
    List<Integer> rows = new ArrayList<>();
    for (int prompt = 0; prompt < searches.size(); prompt++) {
      if (!searches.get(prompt).done()) {
        for (int i = 0; i < beams; i++) {
          rows.add(prompt);
        }
      }
    }
    leave();
    if (!rows.isEmpty()) {
      decoding.keep(rows);
    }
  }

  /**
   * One token more of each search.
   *
   * @param logits [prompts · beams, vocabulary]
   */
  private void step(Tensor logits) {
    int vocabulary = (int) logits.size(1);
    Tensor log = logits.to(ScalarType.Float).log_softmax(1);
    Tensor sums = sampler.adjusted(log, histories).add(column(log)).view(searches.size(), -1);
    int count = (int) Math.min(candidates, sums.size(1));
    var top = sums.topk(count, 1, true, true);
    double[] read = Sampler.read(top.get0(), top.get1());
    var next = new ArrayList<History>();
    for (int prompt = 0; prompt < searches.size(); prompt++) {
      Sampler.check(read[2 * count * prompt]);
      float[] best = new float[count];
      long[] places = new long[count];
      for (int i = 0; i < count; i++) {
        best[i] = (float) read[2 * count * prompt + i];
        places[i] = (long) read[2 * count * prompt + count + i];
      }
      Hypotheses search = searches.get(prompt);
      search.step(best, places, vocabulary);
      int[] last = search.last();
      for (int beam = 0; beam < beams; beam++) {
        History history = histories.get(prompt * beams + search.parents()[beam]).copy();
        history.add(last[beam]);
        next.add(history);
      }
    }
    histories = next;
  }

  private Tensor column(Tensor like) {
    float[] all = new float[searches.size() * beams];
    for (int prompt = 0; prompt < searches.size(); prompt++) {
      System.arraycopy(searches.get(prompt).scores(), 0, all, prompt * beams, beams);
    }
    return tensor(all).view(all.length, 1).to(like.device(), ScalarType.Float);
  }

  /** Each row as many times as there are beams, one beside the other. */
  private Tensor repeated(Tensor logits) {
    long[] rows =
        IntStream.range(0, searches.size() * beams).mapToLong(row -> row / beams).toArray();
    return logits.index_select(0, tensor(rows).to(logits.device(), ScalarType.Long));
  }

  /** Lets each row of the batch be the beam that it goes on from. */
  private void reorder() {
    var rows = new ArrayList<Integer>();
    for (int prompt = 0; prompt < searches.size(); prompt++) {
      if (!searches.get(prompt).done()) {
        for (int parent : searches.get(prompt).parents()) {
          rows.add(prompt * beams + parent);
        }
      }
    }
    boolean moved = !IntStream.range(0, searches.size() * beams).boxed().toList().equals(rows);
    leave();
    if (moved && !rows.isEmpty()) {
      decoding.keep(rows);
    }
  }

  /** Takes the searches that are done out of the batch. */
  private void leave() {
    var left = new ArrayList<History>();
    for (int prompt = 0; prompt < searches.size(); prompt++) {
      if (!searches.get(prompt).done()) {
        left.addAll(histories.subList(prompt * beams, (prompt + 1) * beams));
      }
    }
    histories = left;
    searches = searches.stream().filter(search -> !search.done()).toList();
  }
}
