package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AdapterStack;
import espalier.nn.Linear;
import espalier.nn.Merge;
import espalier.nn.QuantisedWeight;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/** Merging over a whole model: all layers or none. */
final class Merging {

  private final AdapterSet set;

  Merging(AdapterSet set) {
    this.set = set;
  }

  MergeResult merge(List<String> names, boolean safe) {
    var warnings = new ArrayList<String>();
    List<String> before = set.merged();
    List<String> added = names.stream().filter(n -> !before.contains(n)).distinct().toList();
    if (added.size() < names.size()) {
      warnings.add("%s is merged already and is passed over".formatted(before));
    }
    Map<String, Adaptable> layers = set.layersOf(added);
    List<List<String>> untied = untied(layers.keySet());
    warnAboutTies(untied, warnings);
    refuse(layers, added);
    warnAboutRounding(layers, added, warnings);
    allOrNone(layers, added, safe);
    return new MergeResult(added, untied, AdapterSet.told(warnings));
  }

  private List<List<String>> untied(Collection<String> paths) {
    return set.facts().tied().stream()
        .filter(group -> group.stream().anyMatch(paths::contains))
        .toList();
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
    QuantisedWeight codes = layer instanceof Linear linear ? linear.quantised() : null;
    return codes != null
        && names.stream()
            .map(layer.adapters()::find)
            .anyMatch(adapter -> adapter != null && !adapter.mergesInto(codes));
  }

  /** Computes all merged weights, and only then puts them in place. */
  private static void allOrNone(Map<String, Adaptable> layers, List<String> names, boolean safe) {
    allOrNone(layers, names, safe, AdapterStack::prepareMerge);
  }

  private static void allOrNone(
      Map<String, Adaptable> layers,
      List<String> names,
      boolean safe,
      BiFunction<AdapterStack, List<String>, @Nullable Merge> prepare) {
    var merges = new LinkedHashMap<String, Merge>();
    try {
      layers.forEach(
          (path, layer) -> {
            Merge merge = prepare.apply(layer.adapters(), names);
            if (merge == null) {
              return;
            }
            merges.put(path, merge);
            if (safe && !merge.finite()) {
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
    List<List<String>> untied =
        untied(layers.keySet().stream().filter(path -> unmerged(layers, path)).toList());
    warnAboutTies(untied, warnings);
    warnAboutRounding(layers, wanted, warnings);
    layers.putAll(set.layersOf(before));
    allOrNone(layers, wanted, safe, AdapterStack::prepareSwitch);
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
