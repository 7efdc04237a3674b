package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AdapterStack;
import espalier.nn.ExpertWeight;
import espalier.nn.Float8Weight;
import espalier.nn.Linear;
import espalier.nn.Merge;
import espalier.nn.QuantisedWeight;
import espalier.nn.Replicable;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/** Merging over a whole model: all layers or none. */
final class Merging {

  private final AdapterSet set;

  /** How a merge on one layer is got ready, given what merging gives on the layer it follows. */
  @FunctionalInterface
  private interface Preparation {
    @Nullable Merge prepare(AdapterStack stack, List<String> names, @Nullable Merge leader);
  }

  Merging(AdapterSet set) {
    this.set = set;
  }

  MergeResult merge(List<String> names, MergeOptions options) {
    var warnings = new ArrayList<String>();
    List<String> before = set.merged();
    List<String> added = names.stream().filter(n -> !before.contains(n)).distinct().toList();
    if (added.size() < names.stream().distinct().count()) {
      warnings.add("%s is merged already and is passed over".formatted(before));
    }
    Map<String, Adaptable> layers = set.layersOf(added);
    Map<String, String> leaders = leaders(layers, added);
    List<List<String>> untied = untied(layers.keySet(), leaders);
    warnAboutTies(untied, warnings);
    refuse(layers, added);
    requireReady(layers, added);
    warnAboutRounding(layers, added, warnings);
    if (!options.untieReplicas()) {
      refuseReplicas(layers.keySet(), added);
    }
    if (options.keepBackup()) {
      allOrNone(layers, leaders, added, options, AdapterStack::prepareMerge);
    } else {
      refuseWithoutMultiplier(layers, added);
      Preparation dividing = (stack, all, _) -> stack.prepareMergeWithoutBackup(all);
      allOrNone(layers, Map.of(), added, options, dividing);
    }
    return new MergeResult(added, untied, AdapterSet.told(warnings));
  }

  private List<List<String>> untied(Collection<String> paths, Map<String, String> leaders) {
    return set.facts().tied().stream()
        .filter(group -> group.stream().anyMatch(paths::contains))
        .filter(group -> !leaders.containsValue(group.getFirst()))
        .toList();
  }

  /**
   * The layers that share the merged weight of another: all that a group of tied layers has of
   * these adapters is shared too, and nothing took their weights apart before.
   */
  private Map<String, String> leaders(Map<String, Adaptable> layers, List<String> names) {
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

  private void refuseReplicas(Collection<String> paths, List<String> names) {
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

  private static void refuse(Map<String, Adaptable> layers, List<String> names) {
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

  private void requireReady(Map<String, Adaptable> layers, List<String> names) {
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

  private static void refuseWithoutMultiplier(Map<String, Adaptable> layers, List<String> names) {
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

  private static void warnAboutRounding(
      Map<String, Adaptable> layers, List<String> names, List<String> warnings) {
    List<String> rounded =
        layers.entrySet().stream()
            .filter(each -> rounds(each.getValue(), names))
            .map(Map.Entry::getKey)
            .toList();
    if (!rounded.isEmpty()) {
      warnings.add(
          "%s and %d more layers are quantised, so the merged weight is rounded to their form; dequantise the base first for an exact merge"
              .formatted(rounded.getFirst(), rounded.size() - 1));
    }
  }

  private static boolean rounds(Adaptable layer, List<String> names) {
    if (layer instanceof ExpertWeight experts && Float8Weight.holds(experts.weight())) {
      return names.stream().anyMatch(name -> layer.adapters().find(name) != null);
    }
    QuantisedWeight codes = layer instanceof Linear linear ? linear.quantised() : null;
    return codes != null
        && names.stream()
            .map(layer.adapters()::find)
            .anyMatch(adapter -> adapter != null && !adapter.mergesInto(codes));
  }

  /** Computes all merged weights, and only then puts them in place. */
  private static void allOrNone(
      Map<String, Adaptable> layers,
      Map<String, String> leaders,
      List<String> names,
      MergeOptions options,
      Preparation preparation) {
    var merges = new LinkedHashMap<String, Merge>();
    var done = new AtomicInteger();
    var ordered = new LinkedHashMap<>(layers);
    leaders
        .keySet()
        .forEach(path -> ordered.putLast(path, Objects.requireNonNull(layers.get(path))));
    try {
      ordered.forEach(
          (path, layer) -> {
            String leader = leaders.get(path);
            Merge merge =
                preparation.prepare(
                    layer.adapters(), names, leader == null ? null : merges.get(leader));
            if (merge != null) {
              merges.put(path, merge);
            }
            options.progress().computed(path, done.incrementAndGet(), ordered.size());
          });
      Merge.write(merges.values());
      merges.forEach(
          (path, merge) -> {
            Adaptable layer = Objects.requireNonNull(layers.get(path));
            if (!Ranks.all(layer, merge.divisible())) {
              throw new NotFiniteException(
                  "%s: merging %s without a copy of the weight could not be undone: it is %s, and entries that are multiplied by less than 0.001, or rounded, can not be divided again; nothing was merged, so merge with keepBackup"
                      .formatted(path, names, layer.dtype()));
            }
            if (options.safe() && !Ranks.all(layer, merge.finite())) {
              throw new NotFiniteException(
                  "%s: merging %s gives entries that are not finite; nothing was merged"
                      .formatted(path, names));
            }
          });
      merges.values().forEach(Merge::commit);
    } finally {
      merges.values().forEach(Merge::close);
    }
  }

  /** Has exactly these adapters merged, in the place of those that are. */
  MergeResult switchTo(List<String> names, boolean safe) {
    var warnings = new ArrayList<String>();
    List<String> before = set.merged();
    List<String> wanted = names.stream().distinct().toList();
    List<String> added = wanted.stream().filter(n -> !before.contains(n)).toList();
    Map<String, Adaptable> layers = set.layersOf(wanted);
    refuse(layers, wanted);
    requireReady(layers, wanted);
    refuseReplicas(layers.keySet(), wanted);
    Map<String, String> leaders = leaders(layers, wanted);
    List<List<String>> untied =
        untied(layers.keySet().stream().filter(path -> unmerged(layers, path)).toList(), leaders);
    warnAboutTies(untied, warnings);
    warnAboutRounding(layers, wanted, warnings);
    layers.putAll(set.layersOf(before));
    allOrNone(
        layers,
        leaders,
        wanted,
        MergeOptions.defaults().withSafe(safe),
        AdapterStack::prepareSwitch);
    return new MergeResult(added, untied, AdapterSet.told(warnings));
  }

  private static boolean unmerged(Map<String, Adaptable> layers, String path) {
    return Objects.requireNonNull(layers.get(path)).adapters().merged().isEmpty();
  }

  private static void warnAboutTies(List<List<String>> untied, List<String> warnings) {
    if (!untied.isEmpty()) {
      warnings.add(
          "%s shared one weight and no longer do; tie_word_embeddings must be false from here on"
              .formatted(untied));
    }
  }

  /** Drops all adapters and makes the present weights the model's own. */
  void settle() {
    set.allLayers().values().forEach(layer -> layer.adapters().settle());
    set.entries()
        .values()
        .forEach(
            entry -> {
              BaseBiases biases = entry.biases();
              if (biases != null) {
                biases.trainable(false);
                biases.close();
              }
            });
    set.clear();
  }

  /** Drops all adapters; returns warnings. */
  List<String> unload() {
    var warnings = new ArrayList<String>();
    set.entries()
        .forEach(
            (name, entry) -> {
              if (entry.biases() != null) {
                warnings.add("the biases that %s trained stay in the model".formatted(name));
              }
            });
    warnings.addAll(BaseRestoring.warnings(set.entries().values()));
    set.unmerge();
    settle();
    return AdapterSet.told(warnings);
  }
}
