package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * One adapter's entries written into a weight, with what stood there before. Patches of one weight
 * are taken out in the opposite order, which brings it back bit for bit.
 */
final class Patch implements AutoCloseable {

  private final Adapter adapter;
  private final Entries entries;
  private final Tensor before; // [K]
  private final long version;

  private Patch(Adapter adapter, Entries entries, Tensor before) {
    this.adapter = adapter;
    this.entries = entries;
    this.before = before;
    version = entries.values()._version();
  }

  /** Writes an adapter's entries into a weight. */
  static Patch write(Adapter adapter, Entries entries, Tensor weight) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var patch = new Patch(adapter, entries, Scope.own(entries.of(weight)));
      patch.redo(weight);
      return patch;
    }
  }

  /** Writes the entries again, from what stood there before: nothing accumulates. */
  void redo(Tensor weight) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      entries.write(weight, entries.added(before));
    }
  }

  /** Brings back what stood there before. */
  void undo(Tensor weight) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      entries.write(weight, before);
    }
  }

  /** The same place in the weight, written again from the adapter's present values. */
  Patch renewed(Entries now, Tensor weight) {
    var patch = new Patch(adapter, now, before);
    patch.redo(weight);
    return patch;
  }

  boolean is(Adapter other) {
    return adapter.equals(other);
  }

  Adapter adapter() {
    return adapter;
  }

  /** Whether the adapter's values are still those that were written. */
  boolean current(Entries now) {
    return version == now.values()._version() && entries.factor() == now.factor();
  }

  /** Whether what was written is finite. Waits for the device. */
  boolean finite() {
    try (var _ = new PointerScope()) {
      return entries.added(before).isfinite().all().item_bool();
    }
  }

  @Override
  public void close() {
    before.close();
  }
}
