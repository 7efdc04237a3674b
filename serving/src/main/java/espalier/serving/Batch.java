package espalier.serving;

import espalier.nn.Scope;
import java.util.List;
import java.util.stream.IntStream;

/** Rows that are written on together, a token each at a time, until the last has ended. */
final class Batch {

  private final Decoding decoding;
  private final Sampler sampler;
  private List<Continuation> rows; // those that the model still reads

  Batch(Decoding decoding, Sampler sampler, List<Continuation> rows) {
    this.decoding = decoding;
    this.sampler = sampler;
    this.rows = List.copyOf(rows);
  }

  /**
   * Reads the prompts and writes on.
   *
   * @param prompts of each row what the model has not read yet
   */
  void run(List<int[]> prompts, TokenListener listener) {
    int[] chosen = new int[0];
    while (rows.stream().anyMatch(row -> !row.finished())) {
      if (Thread.currentThread().isInterrupted()) {
        rows.stream().filter(row -> !row.finished()).forEach(Continuation::cancel);
        return;
      }
      chosen = step(prompts, chosen);
      for (int i = 0; i < chosen.length; i++) {
        Continuation row = rows.get(i);
        if (!row.finished()) {
          listener.token(row.row(), chosen[i], row.take(chosen[i]));
        }
      }
      chosen = leave(chosen);
    }
  }

  /** One step of all rows, in a scope of its own. Nothing of it stays but the tokens. */
  private int[] step(List<int[]> prompts, int[] last) {
    try (var _ = Scope.open()) {
      return sampler.choose(
          last.length == 0 ? decoding.read(prompts) : decoding.read(last),
          rows.stream().map(Continuation::history).toList());
    }
  }

  /**
   * Takes the rows that have ended out of the batch once they are half of it: each costs as much as
   * one that runs, but to move the others costs a copy of the cache.
   */
  private int[] leave(int[] chosen) {
    List<Integer> running =
        IntStream.range(0, rows.size()).filter(i -> !rows.get(i).finished()).boxed().toList();
    if (running.isEmpty() || 2 * running.size() > rows.size()) {
      return chosen;
    }
    decoding.keep(running);
    rows = running.stream().map(rows::get).toList();
    return running.stream().mapToInt(i -> chosen[i]).toArray();
  }
}
