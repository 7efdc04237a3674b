package espalier.nn;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A merge into one layer that is computed and not yet in force. Closing it without {@link #commit}
 * leaves everything as it was, bit for bit.
 */
public final class Merge implements AutoCloseable {

  /** The least factor on an entry that is divided out again. */
  private static final double SMALLEST = 1e-3;

  private final AdapterStack stack;
  private final MergedWeights weights;
  private final List<String> names;
  private final boolean instead;

  /** In order; for {@link #weight} if that is there, else for the layer's own. */
  private final List<Patch> written = new ArrayList<>();

  /** What leaves the weight and what comes, until and after it is carried out. */
  private @Nullable PatchExchange exchange;

  private boolean pending;

  /** What the weight will be the original multiplied by, where no copy of that is to be kept. */
  private List<WeightMultiplier> multipliers = List.of();

  private boolean divisible = true;

  private @Nullable Tensor weight;
  private @Nullable QuantisedWeight codes; // in the place of the weight
  private boolean finiteCodes = true;
  private @Nullable Tensor bias;
  private boolean dense;
  private boolean committed;

  private Merge(AdapterStack stack, List<String> names, boolean instead) {
    this.stack = stack;
    this.weights = stack.weights();
    this.names = names;
    this.instead = instead;
  }

  /** A merge that keeps no copy of the original, which comes back by division. */
  static Merge prepareWithoutBackup(AdapterStack stack, List<String> names) {
    Merge merge = prepare(stack, names, false, null);
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      merge.dropBackup();
      return merge;
    } catch (RuntimeException e) {
      merge.close();
      throw e;
    }
  }

  private void dropBackup() {
    if (stack.layer().codes() != null) {
      divisible = false;
      return;
    }
    if (!weights.multipliable()) {
      return; // a copy is there, or what stands in the weight can not be divided out
    }
    var own = new ArrayList<WeightMultiplier>();
    multipliers = own;
    for (String name : names) {
      WeightMultiplier multiplier = stack.get(name).multiplier();
      if (multiplier == null) {
        throw new IllegalStateException(
            "%s does not multiply the weight, so that nothing can be divided out of it"
                .formatted(name));
      }
      own.add(multiplier);
    }
    var all = new ArrayList<>(weights.multipliers());
    all.addAll(own);
    divisible =
        switch (stack.layer().dtype()) {
          case Float, Double ->
              MergedWeights.factor(all).abs().ge(new Scalar(SMALLEST)).all().item_bool();
          default -> false;
        };
  }

  /**
   * Whether the original weight can be had back: by a copy of it, or in float32 and float64 by
   * division, if nothing was multiplied by less than 0.001.
   */
  public boolean divisible() {
    return divisible;
  }

  static Merge prepare(
      AdapterStack stack, List<String> names, boolean instead, @Nullable Merge leader) {
    stack.vacate();
    var merge = new Merge(stack, names, instead);
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor shared = leader == null ? null : leader.weight;
      if (stack.layer().codes() != null) {
        merge.quantised();
      } else if (shared != null) {
        merge.whole(shared);
      } else if (names.stream().map(stack::get).allMatch(Merge::changesFew)) {
        merge.few();
      } else {
        merge.whole(null);
      }
      return merge;
    } catch (RuntimeException e) {
      merge.close();
      throw e;
    }
  }

  private static boolean changesFew(Adapter adapter) {
    return adapter.entries() != null && adapter.deltaBias() == null;
  }

  private void few() {
    if (names.isEmpty()) {
      return; // a switch to nothing is an unmerging
    }
    Adaptable layer = stack.layer();
    boolean fromOriginal = instead && weights.dense();
    boolean inPlace = !fromOriginal && layer.ownsWeight();
    boolean bareWeight =
        !weights.apart() && weights.patches().isEmpty() && weights.multipliers().isEmpty();
    if (!fromOriginal && !inPlace && !bareWeight) {
      whole(null); // somebody else sees the merged weight, which must not change under them
      return;
    }
    if (!inPlace) {
      weight = Scope.own(weights.original().clone());
    }
    Tensor into = weight == null ? layer.presentWeight() : weight;
    for (String name : names) {
      Adapter adapter = stack.get(name);
      Entries entries = Objects.requireNonNull(adapter.entries());
      boolean bare = inPlace && instead && written.isEmpty(); // it will stand below all others
      Patch resting = bare ? weights.resting(adapter, entries, into) : null;
      written.add(resting != null ? resting : Patch.of(adapter, entries, into, bare));
    }
    List<Patch> leaving = inPlace && instead ? weights.patches().reversed() : List.of();
    exchange = new PatchExchange(into, leaving, written);
    pending = true;
  }

  /**
   * Writes the entries of several merges at once, by as many threads as libtorch has. Whoever does
   * not call this has them written one by one, when they are looked at or put in force.
   */
  public static void write(Collection<Merge> merges) {
    List<Merge> waiting = merges.stream().filter(merge -> merge.pending).toList();
    waiting.forEach(merge -> merge.pending = false);
    PatchExchange.run(
        waiting.stream().map(merge -> merge.exchange).filter(Objects::nonNull).toList());
  }

  /**
   * The original codes are decoded once, all adapters are added in float32, those that were merged
   * before as well, and the sum is quantised once; unless each of the adapters can be merged into
   * the codes as they are.
   */
  private void quantised() {
    if (names.isEmpty()) {
      return;
    }
    QuantisedWeight sum = Objects.requireNonNull(weights.originalCodes());
    List<String> all = wanted();
    if (all.stream().allMatch(name -> stack.get(name).mergesInto(sum))) {
      codes = sum.withDtype(sum.dtype());
      for (String name : all) {
        QuantisedWeight before = codes;
        codes = stack.get(name).mergedInto(before);
        before.close();
      }
    } else {
      Tensor wide = mergedInto(sum.rows(0, sum.out(), HalfPrecision.widened(sum.dtype())), all);
      finiteCodes = wide.isfinite().all().item_bool(); // codes could no longer tell
      codes = sum.requantised(wide);
      if (codes == null) {
        throw new IllegalStateException(
            "%s can not be merged into a weight that is stored as %s; dequantise it first"
                .formatted(names, sum.format()));
      }
    }
    biases();
  }

  /**
   * Makes a weight of its own.
   *
   * @param shared the merged weight, where another layer has the same, or null to compute it
   */
  private void whole(@Nullable Tensor shared) {
    dense = true;
    weight = Scope.own(shared == null ? sum() : shared);
    biases();
  }

  /** In less than float32 all that is merged is added to the original anew, and rounded once. */
  private Tensor sum() {
    ScalarType dtype = stack.layer().dtype();
    boolean anew = instead || HalfPrecision.widened(dtype) != dtype;
    Tensor sum = anew ? weights.original() : stack.layer().presentWeight();
    Tensor wide = mergedInto(HalfPrecision.widened(sum), anew ? wanted() : names);
    return Float8Weight.holds(sum) ? Float8Weight.rounded(wide, dtype) : wide.to(dtype);
  }

  private Tensor mergedInto(Tensor wide, List<String> adapters) {
    Tensor sum = wide;
    for (String name : adapters) {
      sum = stack.get(name).mergedInto(sum);
    }
    return sum;
  }

  /** All adapters that are merged once this merge is in force. */
  private List<String> wanted() {
    var all = new ArrayList<>(instead ? List.of() : stack.merged());
    all.addAll(names);
    return all;
  }

  private void biases() {
    Adaptable layer = stack.layer();
    Tensor bare = instead ? weights.originalBias() : layer.bias();
    Tensor newBias = null;
    for (String name : names) {
      Adapter adapter = stack.get(name);
      Tensor soFar = newBias == null ? bare : newBias;
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
    bias = newBias == null ? null : Scope.own(newBias);
  }

  /** Whether every entry that the merge changes is finite. Waits for the device. */
  public boolean finite() {
    write(List.of(this));
    try (var _ = new PointerScope()) {
      boolean whole =
          !dense || weight == null || HalfPrecision.widened(weight).isfinite().all().item_bool();
      return whole
          && finiteCodes
          && written.stream().allMatch(Patch::finite)
          && (bias == null || bias.isfinite().all().item_bool());
    }
  }

  /** Puts the merge in force and keeps aside what brings the original back. */
  public void commit() {
    write(List.of(this));
    committed = true;
    if (names.isEmpty()) {
      stack.unmerge();
      return;
    }
    if (codes != null) {
      weights.replace(codes);
      codes = null; // the layer's from here on
    } else if (weight == null) {
      weights.add(written, instead);
    } else if (!multipliers.isEmpty()) {
      var all = new ArrayList<>(weights.multipliers());
      all.addAll(multipliers);
      weights.multiply(weight, all);
      multipliers = List.of(); // the layer's from here on
    } else if (dense) {
      weights.replace(weight);
    } else {
      weights.replace(weight, written);
    }
    weights.replaceBias(bias, instead);
    stack.mergedNow(names, instead);
  }

  @Override
  public void close() {
    if (!committed) {
      if (exchange != null && weight == null) {
        exchange.revert();
      }
      written.stream().filter(patch -> !weights.rests(patch)).forEach(Patch::close);
      committed = true;
    }
    multipliers.forEach(WeightMultiplier::close);
    multipliers = List.of();
    if (weight != null) {
      weight.close();
    }
    if (codes != null) {
      codes.close();
      codes = null;
    }
    if (bias != null) {
      bias.close();
    }
  }
}
