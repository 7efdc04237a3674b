package espalier.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
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
  private boolean castInputs = true;

  /** Active, not merged, not disabled; in active order. */
  private List<Adapter> inForce = List.of();

  private final MergedWeights weights;

  /** Entries that stand in the weight although their adapter is not merged. */
  private @Nullable Patch guest;

  AdapterStack(Adaptable layer) {
    this.layer = layer;
    weights = new MergedWeights(layer);
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
    vacate();
    Adapter adapter = adapters.remove(name);
    if (adapter != null) {
      weights.giveUp(adapter);
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

  /** Whether an input and an adapter may be of different dtypes, of which one is cast. */
  public boolean castsInputs() {
    return castInputs;
  }

  /** Lets an input and an adapter be of different dtypes, or refuses to compute then. */
  public void castInputs(boolean on) {
    castInputs = on;
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
    vacate();
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
    inForce.forEach(adapter -> adapter.requireReady(x));
    if (inForce.size() == 1) {
      return inForce.getFirst().first(x);
    }
    var inputs = new ArrayList<Tensor>();
    Tensor innermost = x;
    for (Adapter adapter : inForce.reversed()) {
      inputs.addFirst(innermost);
      innermost = adapter instanceof ActsOnInput acting ? acting.turned(innermost) : innermost;
    }
    // Several contributions are summed in float32 and rounded once.
    Tensor y = layer.base(innermost);
    ScalarType dtype = y.scalar_type().intern();
    Tensor sum = HalfPrecision.widened(y);
    for (int i = 0; i < inputs.size(); i++) {
      Adapter adapter = inForce.get(i);
      sum = adapter instanceof ActsOnInput ? sum : adapter.forward(inputs.get(i), sum);
    }
    return sum.to(dtype);
  }

  /**
   * Gets a merge of these adapters ready, on top of those already merged: nothing that can be seen
   * changes before {@link Merge#commit}. Names that this layer lacks or that are merged already are
   * passed over.
   *
   * @return to be closed by the caller, or null if nothing is to be merged here
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
    added.forEach(name -> get(name).requireFilled());
    return added.isEmpty() ? null : Merge.prepare(this, added, false, leader);
  }

  /**
   * As {@link #prepareMerge(List)}, but for adapters with a {@linkplain Adapter#multiplier
   * multiplier}: no copy of the original weight is kept beside the merged one, and unmerging
   * divides. Where a copy is there already it stays.
   *
   * @return to be closed by the caller, and to be put in force only if it is {@linkplain
   *     Merge#divisible divisible}; or null if nothing is to be merged here
   * @throws IllegalStateException if an adapter has no multiplier
   */
  public @Nullable Merge prepareMergeWithoutBackup(List<String> names) {
    List<String> added =
        names.stream().filter(n -> adapters.containsKey(n) && !merged.contains(n)).toList();
    added.forEach(name -> get(name).requireFilled());
    return added.isEmpty() ? null : Merge.prepareWithoutBackup(this, added);
  }

  /**
   * Gets ready to have exactly these adapters merged, whatever is merged now. Adapters of a few
   * entries are exchanged by writing those entries, without a product and without a copy of the
   * weight.
   *
   * @param names names that this layer lacks are passed over
   * @return to be closed by the caller, or null if nothing changes here
   */
  public @Nullable Merge prepareSwitch(List<String> names) {
    return prepareSwitch(names, null);
  }

  /**
   * As {@link #prepareSwitch(List)}, on a layer that shares its weight with another one, as in
   * {@link #prepareMerge(List, Merge)}.
   *
   * @param leader what switching gives on the other layer, or null to compute a weight of its own
   */
  public @Nullable Merge prepareSwitch(List<String> names, @Nullable Merge leader) {
    List<String> wanted = names.stream().filter(adapters::containsKey).distinct().toList();
    wanted.forEach(name -> get(name).requireFilled());
    return wanted.equals(merged) ? null : Merge.prepare(this, wanted, true, leader);
  }

  void mergedNow(List<String> names, boolean instead) {
    var all = new ArrayList<>(instead ? List.of() : merged);
    all.addAll(names);
    merged = List.copyOf(all);
    refresh();
  }

  /** Puts the original weight back, bit for bit. Without anything merged it does nothing. */
  public void unmerge() {
    vacate();
    weights.restore();
    merged = List.of();
    refresh();
  }

  /** Makes what is merged the layer's own weight for good, and closes all adapters. */
  public void settle() {
    vacate();
    weights.forget();
    merged = List.of();
    adapters.values().forEach(Adapter::close);
    adapters.clear();
    active = List.of();
    refresh();
  }

  /** Tells every adapter that the layer has another weight of its own. */
  void weightReplaced() {
    weights.giveUp();
    adapters.values().forEach(Adapter::replaced);
  }

  /**
   * The layer's weight with the entries of one adapter in it, which is the only one in force. In
   * training they are written into the weight itself and stay there until anything else asks for
   * it, if nobody else holds the weight; otherwise the weight is copied.
   *
   * @param adapter one with {@link Adapter#entries()}
   * @return in the shape of {@link Adaptable#weight()}; not to be kept beyond the caller's scope
   */
  public Tensor weightWith(Adapter adapter) {
    Entries now = Objects.requireNonNull(adapter.entries());
    if (guest != null && guest.is(adapter)) {
      Tensor weight = layer.presentWeight();
      if (!guest.current(now)) {
        guest = guest.renewed(now, weight);
      }
      return weight;
    }
    boolean alone = inForce.size() == 1 && inForce.getFirst().equals(adapter);
    if (layer.training() && alone && guest == null && layer.ownsWeight()) {
      Tensor weight = layer.presentWeight();
      guest = Patch.write(adapter, now, weight);
      return weight;
    }
    Tensor copy = layer.weight().clone();
    now.write(copy, now.added(now.of(copy)));
    return copy;
  }

  /** Takes out of the weight what {@link #weightWith} has left in it. */
  void vacate() {
    if (guest != null) {
      guest.undo(layer.presentWeight());
      guest.close();
      guest = null;
    }
  }

  /** An adapter computes something else from here on. */
  public void changed(Adapter adapter) {
    if (guest != null && guest.is(adapter)) {
      vacate();
    }
    weights.changed(adapter);
  }

  MergedWeights weights() {
    return weights;
  }

  Adaptable layer() {
    return layer;
  }

  Adapter get(String name) {
    return Objects.requireNonNull(adapters.get(name), name);
  }

  void requireUnmerged() {
    vacate();
    if (!merged.isEmpty()) {
      throw new IllegalStateException(
          "the base can not be changed while %s is merged into it; unmerge first"
              .formatted(merged));
    }
  }

  /** The bias as it was before anything was merged, or null if the layer has none. */
  public @Nullable Tensor originalBias() {
    return weights.originalBias();
  }

  void train(boolean on) {
    if (!on) {
      vacate();
    }
    adapters.values().forEach(a -> a.train(on));
  }

  void close() {
    adapters.values().forEach(Adapter::close);
    adapters.clear();
    weights.forget();
    if (guest != null) {
      guest.close();
      guest = null;
    }
    inForce = List.of();
  }
}
