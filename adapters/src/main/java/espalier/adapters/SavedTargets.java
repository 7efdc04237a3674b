package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/** Finds the layers that {@code modules_to_save} means. */
final class SavedTargets {

  private final Map<String, Layer> layers;
  private final Map<String, Layer> stacked;
  private final Set<String> asked;
  private final List<String> unmatched = new ArrayList<>();

  /**
   * Has found nothing yet.
   *
   * @param layers all layers but those that are parameters in a stack, by path
   * @param stacked parameters in a stack, by path
   * @param asked the names that must match something
   */
  SavedTargets(Map<String, Layer> layers, Map<String, Layer> stacked, Set<String> asked) {
    this.layers = layers;
    this.stacked = stacked;
    this.asked = asked;
  }

  /** Names that had to match something and did not, in order. */
  List<String> unmatched() {
    return unmatched;
  }

  /** The layers with a weight of their own at or below the names to save. */
  List<String> find(Collection<String> names) {
    var found = new LinkedHashSet<String>();
    for (String name : names) {
      List<String> matches =
          layers.keySet().stream().filter(path -> Modules.endsWith(path, name)).toList();
      if (matches.isEmpty() && asked.contains(name)) {
        unmatched.add(name);
      }
      matches.forEach(path -> below(path, found));
    }
    return List.copyOf(found);
  }

  private void below(String top, Set<String> found) {
    int before = found.size();
    boolean known = found.contains(top);
    Stream.of(layers, stacked)
        .flatMap(map -> map.entrySet().stream())
        .filter(e -> e.getKey().equals(top) || e.getKey().startsWith(top + "."))
        .forEach(
            e -> {
              if (e.getValue() instanceof Adaptable) {
                found.add(e.getKey());
              } else if (!e.getValue().parameters().isEmpty()) {
                throw new UnsupportedAdapterException(
                    "modules_to_save reaches %s, a %s, which can not be trained whole; name the layers around it"
                        .formatted(e.getKey(), e.getValue().typeName()));
              }
            });
    if (found.size() == before && !known) {
      boolean all =
          layers.keySet().stream().anyMatch(p -> found.contains(p) && p.startsWith(top + "."));
      if (!all) {
        throw new TargetException(
            "modules_to_save has %s, which has no weight of its own and none below; name a layer that has one"
                .formatted(top));
      }
    }
  }
}
