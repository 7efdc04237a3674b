package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** Switching adapters on and off, and deleting them. */
final class Activation {

  private final AdapterSet set;

  Activation(AdapterSet set) {
    this.set = set;
  }

  /** Makes these the active ones; returns warnings. */
  List<String> activate(List<String> names, boolean inferenceMode) {
    set.requireAll(names);
    requireOneOwner(names);
    var warnings = new ArrayList<String>();
    List<String> merged = set.merged();
    if (!merged.isEmpty()) {
      warnings.add("%s was merged and is unmerged to activate %s".formatted(merged, names));
      set.unmerge();
    }
    set.active(names);
    set.entries().forEach((name, entry) -> entry.trainable(!inferenceMode && names.contains(name)));
    return warnings;
  }

  /** Whether all of these adapters were made for use only. */
  boolean inferenceMode(List<String> names) {
    set.requireAll(names);
    return names.stream().allMatch(name -> set.entry(name).config().head().inferenceMode());
  }

  /** Switches gradients without activating. */
  void requiresGrad(Collection<String> names, boolean on) {
    set.requireAll(names);
    names.forEach(name -> set.entry(name).trainable(on));
  }

  /** Makes adapters the active ones that are merged already. */
  void activateMerged(List<String> names) {
    set.active(names);
    set.entries().values().forEach(entry -> entry.trainable(false));
  }

  /** Refuses two adapters at once that both have a copy of one layer, or of some row of it. */
  void requireOneOwner(List<String> names) {
    var owners = new LinkedHashMap<String, List<String>>();
    for (String name : new LinkedHashSet<>(names)) {
      Entry entry = set.entry(name);
      for (String path : concat(entry.saved(), entry.tokens())) {
        for (String other : owners.computeIfAbsent(path, _ -> new ArrayList<>())) {
          requireApart(other, name, path);
        }
        owners.get(path).add(name);
      }
    }
  }

  private static Set<String> concat(Map<String, Adaptable> one, Map<String, Adaptable> two) {
    var all = new LinkedHashSet<>(one.keySet());
    all.addAll(two.keySet());
    return all;
  }

  private void requireApart(String one, String two, String path) {
    boolean rows =
        set.on(one).get(path) instanceof TokenAdapter a
            && set.on(two).get(path) instanceof TokenAdapter b
            && !a.apart(b);
    if (rows) {
      throw new AdapterException(
          "%s and %s both train some of the same rows of %s; only one of them can be active at a time"
              .formatted(one, two, path));
    }
    boolean both =
        set.on(one).get(path) instanceof TokenAdapter
            && set.on(two).get(path) instanceof TokenAdapter;
    if (!both) {
      throw new AdapterException(
          "%s and %s both have a copy of %s; only one of them can be active at a time"
              .formatted(one, two, path));
    }
  }

  Restorable disable() {
    var warnings = new ArrayList<String>();
    set.entries()
        .forEach(
            (name, entry) -> {
              if (entry.config().bias() != BiasTraining.NONE) {
                warnings.add(
                    "%s trained biases of the base, which stay changed while it is disabled"
                        .formatted(name));
              }
              if (entry.changedBase()) {
                warnings.add(
                    "the start of %s took something out of the base, which is not put back while it is disabled"
                        .formatted(name));
              }
            });
    List<String> merged = set.merged();
    if (!merged.isEmpty()) {
      warnings.add("%s was merged and is unmerged to be disabled".formatted(merged));
      set.unmerge();
    }
    // All layers, so that an adapter that comes meanwhile is off too.
    Collection<Adaptable> layers = set.adaptables().values();
    layers.forEach(layer -> layer.adapters().disable());
    return new Restorable(
        AdapterSet.told(warnings),
        () -> set.lock().change(() -> layers.forEach(layer -> layer.adapters().enable())));
  }

  /** Deletes an adapter; returns warnings. */
  List<String> delete(String name) {
    Entry entry = set.entry(name);
    if (set.merged().contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and can not be deleted; unmerge it first".formatted(name));
    }
    BaseBiases biases = entry.biases();
    if (biases != null) {
      set.requireUnmerged("the biases that %s trained can not be put back".formatted(name));
      biases.restore();
      biases.close();
    }
    entry.layers().values().forEach(layer -> layer.adapters().detach(name));
    set.remove(name);
    var warnings = new ArrayList<>(BaseRestoring.warnings(List.of(entry)));
    List<String> left = set.active().stream().filter(a -> !a.equals(name)).toList();
    boolean wasAlone = left.isEmpty() && !set.active().isEmpty();
    if (!wasAlone || set.entries().isEmpty()) {
      set.active(left);
      return warnings;
    }
    String next = new TreeSet<>(set.entries().keySet()).first();
    warnings.add("the active adapter %s is deleted, now %s is active".formatted(name, next));
    boolean inference = set.entry(next).config().head().inferenceMode();
    warnings.addAll(activate(List.of(next), inference));
    return warnings;
  }
}
