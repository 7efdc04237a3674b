package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * The base that an adapter was first put on.
 *
 * @param name what the adapter is called in messages
 * @param weights what the weights were, by the path of their layer
 */
record FirstBase(String name, Map<String, WeightSketch> weights) {

  /** Refuses a model whose weights are others now. */
  void requireIn(AdapterSet set) {
    Map<String, Adaptable> layers = set.adaptables();
    require(
        path -> {
          Adaptable layer = layers.get(path);
          return layer == null ? null : WeightSketch.of(layer);
        });
  }

  /** Refuses an adapter that was first put on another base. */
  void requireOf(Entry adapter) {
    require(adapter.base()::get);
  }

  private void require(Function<String, @Nullable WeightSketch> present) {
    List<String> others =
        weights.entrySet().stream()
            .filter(
                each -> {
                  WeightSketch own = present.apply(each.getKey());
                  return own != null && !own.matches(each.getValue());
                })
            .map(Map.Entry::getKey)
            .toList();
    if (!others.isEmpty()) {
      throw new IllegalStateException(
          "the weight of %s is not the one that %s was first put on%s: its start takes something out of the base and needs the untouched one; load the base anew, without other such adapters on it"
              .formatted(
                  others.getFirst(),
                  name,
                  others.size() == 1 ? "" : ", and %d more".formatted(others.size() - 1)));
    }
  }
}
