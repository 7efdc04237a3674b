package espalier.adapters.lora.starts;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Sharing ranks out among layers by how much their components explain. */
final class EvaRanks {

  private EvaRanks() {}

  private record Candidate(String path, float explained) {}

  /**
   * The ranks: the components that explain most, over all layers, each give their layer one.
   *
   * @param explained the explained parts of each layer's components by path, largest first; layers
   *     that own an analysis come before those that share it
   * @param owners for each layer that shares another's analysis the path of that one
   * @param budget how many ranks there are
   * @return a rank of 0 or more for each layer; a layer that owns an analysis has at least the rank
   *     of those that share it
   */
  static Map<String, Integer> shared(
      Map<String, float[]> explained, Map<String, String> owners, int budget) {
    var candidates = new ArrayList<Candidate>();
    var ranks = new LinkedHashMap<String, Integer>();
    explained.forEach(
        (path, parts) -> {
          ranks.put(path, 0);
          for (float part : parts) {
            candidates.add(new Candidate(path, part));
          }
        });
    candidates.sort(Comparator.comparingDouble((Candidate c) -> c.explained).reversed());
    List<Candidate> best = candidates.subList(0, Math.min(budget, candidates.size()));
    best.forEach(candidate -> ranks.merge(candidate.path, 1, Integer::sum));
    owners.forEach(
        (path, owner) -> {
          int own = ranks.getOrDefault(path, 0);
          int theirs = ranks.getOrDefault(owner, 0);
          if (own > theirs) {
            ranks.put(path, theirs);
            ranks.put(owner, own);
          }
        });
    return ranks;
  }
}
