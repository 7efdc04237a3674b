package espalier.nn;

import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * One adapter's entries for a weight, and what stood there before. Patches of one weight are taken
 * out in the opposite order, which brings it back bit for bit.
 */
final class Patch implements AutoCloseable {

  private final Adapter adapter;
  private final Entries entries;
  private final Tensor before; // [K]
  private final @Nullable Tensor ready; // [K], what is to stand there
  private final long version;

  /** Whether {@link #before} was read from the weight. */
  private boolean held;

  /** Whether each entry was looked at as it was computed; then {@link #ready} holds them all. */
  private boolean looked;

  private volatile boolean finite = true;

  /** The weight that {@link #before} is of while this patch is not in it. */
  private @Nullable TensorStamp bare;

  private Patch(
      Adapter adapter, Entries entries, Tensor before, @Nullable Tensor ready, boolean held) {
    this.adapter = adapter;
    this.entries = entries;
    this.before = before;
    this.ready = ready;
    this.held = held;
    version = entries.values()._version();
  }

  /**
   * A patch for a weight, which is not written yet.
   *
   * @param again whether it is likely to be written more than once, and sums are worth keeping
   */
  static Patch of(Adapter adapter, Entries entries, Tensor weight, boolean again) {
    long count = entries.positions().size(0);
    Tensor before = Scope.owned(() -> weight.new_empty(count));
    Tensor ready = again ? Scope.owned(() -> weight.new_empty(count)) : null;
    return new Patch(adapter, entries, before, ready, false);
  }

  /** Writes an adapter's entries into a weight. */
  static Patch write(Adapter adapter, Entries entries, Tensor weight) {
    Patch patch = of(adapter, entries, weight, false);
    new PatchExchange(weight, List.of(), List.of(patch)).run();
    return patch;
  }

  /** Brings back what stood there before. */
  void undo(Tensor weight) {
    new PatchExchange(weight, List.of(this), List.of()).run();
  }

  /** The same place in the weight, written again from the adapter's present values. */
  Patch renewed(Entries now, Tensor weight) {
    var patch = new Patch(adapter, now, before, null, true);
    new PatchExchange(weight, List.of(), List.of(patch)).run();
    return patch;
  }

  /**
   * Writes the entries by the library, from what stands there, or if that was read already, from
   * what stood there before: nothing accumulates.
   */
  void enter(Tensor weight) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      if (!held) {
        before.copy_(entries.of(weight));
        held = true;
      }
      entries.write(weight, entries.added(before));
      looked = false;
    }
  }

  /** Brings back what stood there before, by the library. */
  void leave(Tensor weight) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      entries.write(weight, before);
    }
  }

  boolean is(Adapter other) {
    return adapter.equals(other);
  }

  Adapter adapter() {
    return adapter;
  }

  Entries entries() {
    return entries;
  }

  Tensor before() {
    return before;
  }

  boolean held() {
    return held;
  }

  @Nullable Tensor ready() {
    return ready;
  }

  /** Whether {@link #ready} holds what is to stand in the weight. */
  boolean made() {
    return looked;
  }

  /** Says that all entries are written and that each was looked at. */
  void entered() {
    held = true;
    looked = true;
  }

  /** Says that an entry that was written is not finite. Any thread may say so. */
  void notFinite() {
    finite = false;
  }

  /** Says that this patch has left a weight that holds nothing else now. */
  void leftBare(Tensor weight) {
    bare = TensorStamp.of(weight);
  }

  /** Whether it can be written again as it is, into the bare weight that it left. */
  boolean fits(Entries now, Tensor weight) {
    return current(now)
        && entries.positions().equals(now.positions())
        && entries.values().equals(now.values())
        && TensorStamp.of(weight).equals(bare);
  }

  /** Whether the adapter's values are still those that were written. */
  boolean current(Entries now) {
    return version == now.values()._version() && entries.factor() == now.factor();
  }

  /** Whether what was written is finite. Waits for the device. */
  boolean finite() {
    if (looked) {
      return finite;
    }
    try (var _ = new PointerScope()) {
      return entries.added(before).isfinite().all().item_bool();
    }
  }

  @Override
  public void close() {
    before.close();
    if (ready != null) {
      ready.close();
    }
  }
}
