package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Layers that share one weight, and whether they still do after a merge. */
final class MergeTies {

  private final AdapterSet set;

  MergeTies(AdapterSet set) {
    this.set = set;
  }

  /** The groups of tied layers whose one weight these layers no longer share once merged. */
  List<List<String>> untied(Collection<String> paths, Map<String, String> leaders) {
    return set.facts().tied().stream()
        .filter(group -> group.stream().anyMatch(paths::contains))
        .filter(group -> !leaders.containsValue(group.getFirst()))
        .toList();
  }

  /**
   * The layers that share the merged weight of another: all that a group of tied layers has of
   * these adapters is shared too, and nothing took their weights apart before.
   */
  Map<String, String> leaders(Map<String, Adaptable> layers, List<String> names) {
    var leaders = new LinkedHashMap<String, String>();
    for (List<String> group : set.facts().tied()) {
      String first = group.getFirst();
      if (group.stream().allMatch(path -> together(first, path, layers, names))) {
        group.stream().skip(1).forEach(path -> leaders.put(path, first));
      }
    }
    return leaders;
  }

  private boolean together(
      String first, String path, Map<String, Adaptable> layers, List<String> names) {
    Adaptable leader = layers.get(first);
    Adaptable layer = layers.get(path);
    if (leader == null || layer == null || address(leader) != address(layer)) {
      return false;
    }
    return path.equals(first)
        || names.stream()
            .map(set::entry)
            .filter(entry -> entry.layers().containsKey(first) || entry.layers().containsKey(path))
            .allMatch(entry -> first.equals(entry.leaders().get(path)));
  }

  private static long address(Adaptable layer) {
    return layer.weight().data_ptr().address();
  }

  static void warn(List<List<String>> untied, List<String> warnings) {
    if (!untied.isEmpty()) {
      warnings.add(
          "%s shared one weight and no longer do; tie_word_embeddings must be false from here on"
              .formatted(untied));
    }
  }
}
