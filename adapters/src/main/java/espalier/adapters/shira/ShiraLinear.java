package espalier.adapters.shira;

import espalier.nn.Adapter;
import espalier.nn.Entries;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * SHiRA on a linear layer: a small fixed set of entries of the weight is trained, all others stay.
 *
 * <pre>
 *     ΔW = s · Σ v_e E[i_e, j_e]     y = x (W + ΔW)ᵀ + bias     dv_e = s · Σ_t g[t, i_e] x[t, j_e]
 * </pre>
 *
 * <p>In training the entries live in the weight itself, written anew from the original ones and
 * from v after each step, so the product costs what it costs without an adapter and nothing
 * accumulates. Merged, they are exchanged for those of another adapter by writing entries alone.
 *
 * @see <a href="https://arxiv.org/abs/2406.13175">Sparse High Rank Adapters, NeurIPS 2024</a>
 */
public final class ShiraLinear extends Adapter {

  static final String VALUES = "shira_weight";
  static final String INDICES = "shira_indices";
  static final String GAPS = "shira_gaps";

  /**
   * From as many entries on 32 random bits are few to draw one with, and no version of libtorch is
   * trusted to draw as another does.
   */
  private static final long DRAWN_OTHERWISE = (1L << 32) / 20;

  private final Linear layer;
  private final ShiraConfig config;
  private final Tensor values; // [K]
  private Support support;

  /** Whether the entries are those that the reference draws; null where it was not looked at. */
  private @Nullable Boolean drawn;

  ShiraLinear(ShiraConfig config, Linear layer, Support support, Init init) {
    this.layer = layer;
    this.support = support;
    this.config = config;
    drawn = config.drawnByReference() && !init.isBlank() && support.size() < DRAWN_OTHERWISE;
    long count = support.count();
    values = parameter(VALUES, config.zeroStart() ? init.zero(count) : init.normal(1, count));
  }

  @Override
  public Linear layer() {
    return layer;
  }

  /** What is added to each entry before the scale, [K]. */
  public Tensor values() {
    return values;
  }

  /** Rows and columns of the entries, ascending, int32 [2, K]; a fresh tensor. */
  public Tensor indices() {
    return support.indices();
  }

  Support support() {
    return support;
  }

  @Override
  public Tensor first(Tensor x) {
    return layer.quantised() == null
        ? SparseProduct.whole(this, x)
        : forward(x, layer.base(x)); // codes have no entries that could be written to
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return y.add(SparseProduct.branch(this, x)).to(y.scalar_type().intern());
  }

  @Override
  public Entries entries() {
    return new Entries(support.kept(), values, scale());
  }

  @Override
  public Tensor deltaWeight() {
    return support.dense(times(wide(values), scale()));
  }

  @Override
  public Tensor mergedInto(Tensor weight) {
    Tensor merged = weight.clone();
    Entries entries = entries();
    entries.write(merged, entries.added(entries.of(merged)));
    return merged;
  }

  // ---- files

  /**
   * Whether the places are saved as gaps: where nothing else is asked for, if the reference can do
   * without, because its own draw puts the same entries in their place.
   */
  private boolean compact() {
    Boolean asked = config.options().compact();
    if (asked != null || layer.transposed()) { // the reference draws nothing for a Conv1D
      return Boolean.TRUE.equals(asked);
    }
    if (drawn == null) {
      try (var _ = new PointerScope()) {
        drawn =
            MaskChoice.drawn(support.size(), support.count(), config.randomSeed())
                .equal(support.positions());
      }
    }
    return drawn;
  }

  Set<String> savedNames() {
    return compact() ? Set.of(VALUES, GAPS) : Set.of(VALUES, INDICES);
  }

  Map<String, Tensor> saved() {
    if (layer.transposed()) {
      return savedAsStored();
    }
    var saved = new LinkedHashMap<String, Tensor>();
    saved.put(VALUES, values);
    if (compact()) {
      saved.put(GAPS, Gaps.of(support.positions(), support.in()));
    } else {
      saved.put(INDICES, support.narrowIndices());
    }
    return Collections.unmodifiableMap(saved);
  }

  private Map<String, Tensor> savedAsStored() {
    var stored = Turned.of(support.positions(), values.detach(), support.out(), support.in());
    return compact()
        ? Map.of(VALUES, stored.values(), GAPS, Gaps.of(stored.positions(), support.out()))
        : Map.of(
            VALUES,
            stored.values(),
            INDICES,
            support.narrowIndices(stored.positions(), support.out()));
  }

  @Override
  public boolean accepts(String name, long[] shape) {
    boolean vector = shape.length == 1 && shape[0] > 0;
    return name.equals(VALUES)
        ? vector && shape[0] <= support.size()
        : vector || (shape.length == 2 && shape[0] == 2 && shape[1] > 0);
  }

  /**
   * Takes over values and where they stand. The file decides how many there are; entries that are
   * not in order are put in order.
   *
   * @throws IllegalArgumentException if one of the two is missing, if they differ in length, or if
   *     an entry lies outside of the weight or comes twice
   */
  @Override
  public Runnable loading(Map<String, Tensor> saved) {
    SavedEntries file =
        layer.transposed()
            ? SavedEntries.of(saved, support.in(), support.out())
                .turned(support.in(), support.out())
            : SavedEntries.of(saved, support.out(), support.in());
    return () -> take(file, saved.keySet());
  }

  private void take(SavedEntries file, Set<String> names) {
    try (var _ = new PointerScope()) {
      layer.adapters().changed(this);
      Support before = support;
      support = new Support(before.out(), before.in(), file.positions());
      values.set_data(values.new_empty(file.values().sizes()).copy_(file.values()));
      before.close();
      boolean possible =
          file.compact()
              && config.drawnByReference()
              && support.count() == config.r() * (support.out() + support.in())
              && support.size() < DRAWN_OTHERWISE;
      drawn = possible ? null : false;
    }
    filled(names);
  }

  @Override
  public void to(ScalarType dtype) {
    layer.adapters().changed(this);
    super.to(dtype);
  }

  @Override
  public void close() {
    super.close();
    support.close();
  }

  @Override
  public @Nullable String conversionRefusal() {
    return referenceRefusals()
        ? "the reference does not convert SHIRA; switch referenceRefusals off to convert it with a"
            + " report of the error"
        : super.conversionRefusal();
  }
}
