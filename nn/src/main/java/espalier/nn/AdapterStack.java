package espalier.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** The adapters of one layer: which are there, which are in force, which are merged. */
public final class AdapterStack {

  private final Adaptable layer;
  private final Map<String, Adapter> adapters = new LinkedHashMap<>();
  private List<String> active = List.of();
  private List<String> merged = List.of();
  private int disabled;

  /** Active, not merged, not disabled; in active order. */
  private List<Adapter> inForce = List.of();

  private @Nullable Tensor keptWeight;
  private @Nullable Tensor keptBias;

  AdapterStack(Adaptable layer) {
    this.layer = layer;
  }

  /** The adapters by name, in the order they came. */
  public Map<String, Adapter> all() {
    return Collections.unmodifiableMap(adapters);
  }

  /** The adapter called {@code name}, or null. */
  public @Nullable Adapter find(String name) {
    return adapters.get(name);
  }

  /** Adds an adapter, which is neither active nor trainable yet. The stack closes it. */
  public void attach(String name, Adapter adapter) {
    if (adapters.putIfAbsent(name, adapter) != null) {
      throw new IllegalArgumentException(
          "the adapter %s is on this layer already; choose another name or delete it first"
              .formatted(name));
    }
    adapter.train(layer.training());
    refresh();
  }

  /** Takes an adapter away and closes it. It must not be merged. */
  public void detach(String name) {
    if (merged.contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and can not be deleted; unmerge it first".formatted(name));
    }
    Adapter adapter = adapters.remove(name);
    if (adapter != null) {
      adapter.close();
    }
    active = active.stream().filter(a -> !a.equals(name)).toList();
    refresh();
  }

  /** Names of the active adapters, also those that this layer does not have. */
  public List<String> active() {
    return active;
  }

  /** Puts these adapters in force, in this order; names that this layer lacks add nothing here. */
  public void activate(List<String> names) {
    active = List.copyOf(names);
    refresh();
  }

  /** Names of the merged adapters, in merge order. */
  public List<String> merged() {
    return merged;
  }

  /** Whether {@link #disable} is in effect. */
  public boolean disabled() {
    return disabled > 0;
  }

  /** Turns all adapters off until as many calls of {@link #enable} follow. */
  public void disable() {
    disabled++;
    refresh();
  }

  /** Takes one {@link #disable} back. */
  public void enable() {
    if (disabled == 0) {
      throw new IllegalStateException("enable without a disable before it");
    }
    disabled--;
    refresh();
  }

  private void refresh() {
    var list = new ArrayList<Adapter>();
    if (disabled == 0) {
      for (String name : active) {
        Adapter adapter = adapters.get(name);
        if (adapter != null && !merged.contains(name)) {
          list.add(adapter);
        }
      }
    }
    inForce = List.copyOf(list);
  }

  /** The adapters in force, in order. */
  public List<Adapter> inForce() {
    return inForce;
  }

  boolean idle() {
    return adapters.isEmpty() || (inForce.isEmpty() && !Rows.bound());
  }

  Tensor forward(Tensor x) {
    if (Rows.bound() && disabled == 0) {
      return Rows.forward(layer, adapters, x);
    }
    if (inForce.isEmpty()) {
      return layer.base(x);
    }
    if (inForce.size() == 1) {
      return inForce.getFirst().first(x);
    }
    // Several contributions are summed in float32 and rounded once.
    Tensor y = layer.base(x);
    ScalarType dtype = y.scalar_type().intern();
    Tensor sum = wide(y);
    for (Adapter adapter : inForce) {
      sum = adapter.forward(x, sum);
    }
    return sum.to(dtype);
  }

  static Tensor wide(Tensor y) {
    return switch (y.scalar_type().intern()) {
      case BFloat16, Half -> y.to(ScalarType.Float);
      default -> y;
    };
  }

  /**
   * Computes the weight and bias that merging these adapters, on top of those already merged, would
   * give, and changes nothing. Names that this layer lacks or that are merged already are passed
   * over.
   *
   * @return handles that the caller owns, or null if nothing is to be merged here
   */
  public @Nullable Merge prepareMerge(List<String> names) {
    return prepareMerge(names, null);
  }

  /**
   * As {@link #prepareMerge(List)}, on a layer that shares its weight and all that is merged into
   * it with another layer: the merged weight is shared as well.
   *
   * @param leader what merging gives on the other layer, or null to compute a weight of its own
   */
  public @Nullable Merge prepareMerge(List<String> names, @Nullable Merge leader) {
    List<String> added =
        names.stream().filter(n -> adapters.containsKey(n) && !merged.contains(n)).toList();
    if (added.isEmpty()) {
      return null;
    }
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor weight = leader == null ? layer.weight() : leader.weight;
      Tensor bias = layer.bias();
      Tensor newBias = null;
      for (String name : added) {
        Adapter adapter = Objects.requireNonNull(adapters.get(name));
        weight = leader == null ? adapter.mergedInto(weight) : weight;
        Tensor soFar = newBias == null ? bias : newBias;
        Tensor next = adapter.mergedIntoBias(soFar);
        if (next != null && !next.equals(soFar)) {
          if (soFar == null) {
            throw new IllegalStateException(
                "the adapter %s trains a bias but the layer has none to merge it into"
                    .formatted(name));
          }
          newBias = next;
        }
      }
      return new Merge(this, added, Scope.own(weight), newBias == null ? null : Scope.own(newBias));
    }
  }

  /** A merge that is computed and not yet in place. */
  public static final class Merge implements AutoCloseable {
    private final AdapterStack stack;
    private final List<String> names;
    private final Tensor weight;
    private final @Nullable Tensor bias;

    private Merge(AdapterStack stack, List<String> names, Tensor weight, @Nullable Tensor bias) {
      this.stack = stack;
      this.names = names;
      this.weight = weight;
      this.bias = bias;
    }

    /** Whether every entry is finite. Waits for the device. */
    public boolean finite() {
      try (var _ = new PointerScope()) {
        return weight.isfinite().all().item_bool()
            && (bias == null || bias.isfinite().all().item_bool());
      }
    }

    /** Puts the merged weight in place and keeps the original aside. */
    public void commit() {
      stack.commit(this);
    }

    @Override
    public void close() {
      weight.close();
      if (bias != null) {
        bias.close();
      }
    }
  }

  private void commit(Merge merge) {
    // The original is kept by its handle alone: a mapped weight costs nothing to keep.
    if (keptWeight == null) {
      keptWeight = Scope.own(layer.weight());
    }
    layer.replaceWeight(merge.weight);
    if (merge.bias != null) {
      if (keptBias == null) {
        keptBias = Scope.own(Objects.requireNonNull(layer.bias()));
      }
      layer.replaceBias(merge.bias);
    }
    var names = new ArrayList<>(merged);
    names.addAll(merge.names);
    merged = List.copyOf(names);
    refresh();
  }

  /** Puts the original weight back, bit for bit. Without anything merged it does nothing. */
  public void unmerge() {
    if (keptWeight != null) {
      layer.replaceWeight(keptWeight);
      keptWeight.close();
      keptWeight = null;
    }
    if (keptBias != null) {
      layer.replaceBias(keptBias);
      keptBias.close();
      keptBias = null;
    }
    merged = List.of();
    refresh();
  }

  /** Makes what is merged the layer's own weight for good, and closes all adapters. */
  public void settle() {
    if (keptWeight != null) {
      keptWeight.close();
      keptWeight = null;
    }
    if (keptBias != null) {
      keptBias.close();
      keptBias = null;
    }
    merged = List.of();
    adapters.values().forEach(Adapter::close);
    adapters.clear();
    active = List.of();
    refresh();
  }

  void requireUnmerged() {
    if (!merged.isEmpty()) {
      throw new IllegalStateException(
          "the base can not be changed while %s is merged into it; unmerge first"
              .formatted(merged));
    }
  }

  @Nullable Tensor keptWeight() {
    return keptWeight;
  }

  /** The bias as it was before anything was merged, or null if the layer has none. */
  public @Nullable Tensor originalBias() {
    return keptBias != null ? keptBias : layer.bias();
  }

  void train(boolean on) {
    adapters.values().forEach(a -> a.train(on));
  }

  void close() {
    adapters.values().forEach(Adapter::close);
    adapters.clear();
    if (keptWeight != null) {
      keptWeight.close();
      keptWeight = null;
    }
    if (keptBias != null) {
      keptBias.close();
      keptBias = null;
    }
    inForce = List.of();
  }
}
