package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Replicable;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What is refused before a merge begins. */
final class MergeRefusals {

  private final AdapterSet set;

  MergeRefusals(AdapterSet set) {
    this.set = set;
  }

  /** Refuses blocks that share their weights with others, which would all be merged into. */
  void refuseReplicas(Collection<String> paths, List<String> names) {
    if (!(set.model() instanceof Replicable blocks)) {
      return;
    }
    for (String block : blocks.replicas()) {
      for (String path : paths) {
        if (path.startsWith(block + ".")) {
          throw new UnsupportedAdapterException(
              "%s can not be merged because %s shares its weights with another block of layer_replication; untie the replicas, which gives each block weights of its own"
                  .formatted(names, block));
        }
      }
    }
  }

  /** Refuses adapters, or layers, that say that they can not be merged. */
  static void refuse(Map<String, Adaptable> layers, List<String> names) {
    var refusals = new ArrayList<String>();
    layers.forEach(
        (path, layer) -> {
          for (String name : names) {
            Adapter adapter = layer.adapters().find(name);
            String refusal = adapter == null ? null : refusal(layer, adapter);
            if (refusal != null) {
              refusals.add("%s at %s: %s".formatted(name, path, refusal));
            }
          }
        });
    if (!refusals.isEmpty()) {
      throw new UnsupportedAdapterException(
          refusals.size() == 1
              ? refusals.getFirst()
              : "%s; and %d more layers".formatted(refusals.getFirst(), refusals.size() - 1));
    }
  }

  /** Refuses what a method could merge only with something that it lacks yet. */
  void requireReady(Map<String, Adaptable> layers, List<String> names) {
    for (String name : names) {
      AdapterConfig config = set.entry(name).config();
      set.entry(name)
          .adapted()
          .forEach(
              (path, layer) -> {
                String missing = layers.containsKey(path) ? config.missingForMerge(layer) : null;
                if (missing != null) {
                  throw new IllegalStateException("%s at %s: %s".formatted(name, path, missing));
                }
              });
    }
  }

  /** Refuses what can not be divided out again, where no copy of the weight is kept. */
  static void refuseWithoutMultiplier(Map<String, Adaptable> layers, List<String> names) {
    layers.forEach(
        (path, layer) ->
            names.stream()
                .map(layer.adapters()::find)
                .filter(adapter -> adapter != null && !multiplies(adapter))
                .findFirst()
                .ifPresent(
                    adapter -> {
                      throw new UnsupportedAdapterException(
                          "%s at %s is a %s, whose merge can not be divided out of the weight again; merge it with keepBackup"
                              .formatted(names, path, adapter.typeName()));
                    }));
  }

  private static boolean multiplies(Adapter adapter) {
    try (var multiplier = adapter.multiplier()) {
      return multiplier != null;
    }
  }

  private static @Nullable String refusal(Adaptable layer, Adapter adapter) {
    String own = adapter.mergeRefusal();
    return own == null ? layer.mergeRefusal(adapter) : own;
  }
}
