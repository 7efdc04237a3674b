package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.AdapterStack;
import espalier.nn.ExpertWeight;
import espalier.nn.Float8Weight;
import espalier.nn.Linear;
import espalier.nn.Merge;
import espalier.nn.QuantisedWeight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/** Merging over a whole model: all layers or none. */
final class Merging {

  private final AdapterSet set;
  private final Activation activation;
  private final MergeRefusals refusals;
  private final MergeTies ties;

  /** How a merge on one layer is got ready, given what merging gives on the layer it follows. */
  @FunctionalInterface
  private interface Preparation {
    @Nullable Merge prepare(AdapterStack stack, List<String> names, @Nullable Merge leader);
  }

  Merging(AdapterSet set, Activation activation) {
    this.set = set;
    this.activation = activation;
    refusals = new MergeRefusals(set);
    ties = new MergeTies(set);
  }

  MergeResult merge(List<String> names, MergeOptions options) {
    set.requireAll(names);
    var together = new ArrayList<>(set.merged());
    together.addAll(names);
    activation.requireOneOwner(together);
    return set.changed(() -> add(names, options));
  }

  private MergeResult add(List<String> names, MergeOptions options) {
    var warnings = new ArrayList<String>();
    List<String> before = set.merged();
    List<String> added = names.stream().filter(n -> !before.contains(n)).distinct().toList();
    if (added.size() < names.stream().distinct().count()) {
      warnings.add("%s is merged already and is passed over".formatted(before));
    }
    Map<String, Adaptable> layers = set.layersOf(added);
    Map<String, String> leaders = ties.leaders(layers, added);
    List<List<String>> untied = ties.untied(layers.keySet(), leaders);
    MergeTies.warn(untied, warnings);
    MergeRefusals.refuse(layers, added);
    refusals.requireReady(layers, added);
    warnAboutRounding(layers, added, warnings);
    if (!options.untieReplicas()) {
      refusals.refuseReplicas(layers.keySet(), added);
    }
    if (options.keepBackup()) {
      allOrNone(layers, leaders, added, options, AdapterStack::prepareMerge);
    } else {
      MergeRefusals.refuseWithoutMultiplier(layers, added);
      Preparation dividing = (stack, all, _) -> stack.prepareMergeWithoutBackup(all);
      allOrNone(layers, Map.of(), added, options, dividing);
    }
    return new MergeResult(added, untied, AdapterSet.told(warnings));
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

  /** Puts the weights of the base back; returns warnings. */
  List<String> unmerge() {
    boolean nothing = set.merged().isEmpty();
    set.lock().change(set::unmerge);
    return AdapterSet.told(nothing ? List.of("nothing is merged") : List.of());
  }

  /** Has exactly these adapters merged and active, in the place of those that are. */
  MergeResult switchTo(List<String> names, boolean safe) {
    set.requireAll(names);
    activation.requireOneOwner(names);
    return set.changed(
        () -> {
          MergeResult result = exchange(names, safe);
          activation.activateMerged(names);
          return result;
        });
  }

  private MergeResult exchange(List<String> names, boolean safe) {
    var warnings = new ArrayList<String>();
    List<String> before = set.merged();
    List<String> wanted = names.stream().distinct().toList();
    List<String> added = wanted.stream().filter(n -> !before.contains(n)).toList();
    Map<String, Adaptable> layers = set.layersOf(wanted);
    MergeRefusals.refuse(layers, wanted);
    refusals.requireReady(layers, wanted);
    refusals.refuseReplicas(layers.keySet(), wanted);
    Map<String, String> leaders = ties.leaders(layers, wanted);
    List<List<String>> untied =
        ties.untied(
            layers.keySet().stream().filter(path -> unmerged(layers, path)).toList(), leaders);
    MergeTies.warn(untied, warnings);
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

  /** Merges adapters, makes the result the model's own, and drops all adapters. */
  MergeResult settle(List<String> names, MergeOptions options) {
    return set.changed(
        () -> {
          MergeResult result = merge(names, options);
          settle();
          return result;
        });
  }

  /** Drops all adapters and makes the present weights the model's own. */
  private void settle() {
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
    return set.changed(this::drop);
  }

  private List<String> drop() {
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
