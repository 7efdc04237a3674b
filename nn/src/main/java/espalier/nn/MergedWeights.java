package espalier.nn;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What brings a layer's weight and bias back after merging: the original by its handle alone, which
 * costs nothing where it is mapped, or the few entries that were overwritten.
 */
final class MergedWeights {

  private final Adaptable layer;
  private @Nullable Tensor keptWeight;
  private @Nullable QuantisedWeight keptCodes;
  private @Nullable Tensor keptBias;

  /** Entries written into the present weight, in order. */
  private List<Patch> patches = List.of();

  /**
   * Patches that were switched out of the bare weight, and are written again as they are when their
   * adapter comes back. They are given up as soon as anything but a switch happens.
   */
  private final Map<Adapter, Patch> resting = new HashMap<>();

  /** What the present weight is multiplied by, where nothing brings the original back but that. */
  private List<WeightMultiplier> multipliers = List.of();

  /** Whether the present weight has more in it than patches. */
  private boolean dense;

  MergedWeights(Adaptable layer) {
    this.layer = layer;
  }

  boolean dense() {
    return dense;
  }

  /** Whether the original is kept apart from the present weight. */
  boolean apart() {
    return keptWeight != null;
  }

  /** The codes of the original weight, or null if it is a plain tensor. */
  @Nullable QuantisedWeight originalCodes() {
    return keptCodes != null ? keptCodes : layer.codes();
  }

  List<Patch> patches() {
    return patches;
  }

  /** What the present weight is multiplied by without a copy of the original; often nothing. */
  List<WeightMultiplier> multipliers() {
    return multipliers;
  }

  /** Whether a weight may be multiplied without a copy being kept: nothing else stands in it. */
  boolean multipliable() {
    return keptWeight == null && keptCodes == null && patches.isEmpty();
  }

  /**
   * The original weight; a copy in the caller's scope where entries of it are overwritten, or where
   * it has to be divided out of the merged one.
   */
  Tensor original() {
    if (keptWeight != null) {
      return keptWeight;
    }
    if (keptCodes != null) {
      return keptCodes.rows(0, keptCodes.out());
    }
    if (patches.isEmpty()) {
      return divided(layer.presentWeight());
    }
    Tensor copy = layer.presentWeight().clone();
    patches.reversed().forEach(patch -> patch.undo(copy));
    return divided(copy);
  }

  private Tensor divided(Tensor weight) {
    return multipliers.isEmpty()
        ? weight
        : weight.div(factor(multipliers)).to(weight.scalar_type().intern());
  }

  /** 1 + Σ M. */
  static Tensor factor(List<WeightMultiplier> multipliers) {
    Tensor sum = multipliers.getFirst().lessOne().add(new Scalar(1));
    multipliers.stream().skip(1).forEach(each -> sum.add_(each.lessOne()));
    return sum;
  }

  /** The patch of an adapter that can be written into the bare weight as it is, or null. */
  @Nullable Patch resting(Adapter adapter, Entries now, Tensor weight) {
    Patch patch = resting.get(adapter);
    return patch != null && patch.fits(now, weight) ? patch : null;
  }

  boolean rests(Patch patch) {
    return patch.equals(resting.get(patch.adapter()));
  }

  /** Gives up what is kept for the time when this adapter comes back. */
  void giveUp(Adapter adapter) {
    Patch patch = resting.remove(adapter);
    if (patch != null) {
      patch.close();
    }
  }

  /** Gives up what is kept for the time when adapters come back. */
  void giveUp() {
    resting.values().forEach(Patch::close);
    resting.clear();
  }

  @Nullable Tensor originalBias() {
    return keptBias != null ? keptBias : layer.bias();
  }

  /** Takes over a weight that has all that is merged in it. */
  void replace(Tensor weight) {
    if (keptWeight == null) {
      try (var _ = new PointerScope()) {
        Tensor present = layer.presentWeight();
        patches.reversed().forEach(patch -> patch.undo(present));
        keptWeight = Scope.own(divided(present));
      }
    }
    dropPatches();
    dropMultipliers();
    layer.replaceWeight(weight);
    dense = true;
  }

  /**
   * Takes over a weight that is the present one multiplied, and keeps no copy of the original.
   *
   * @param all what it is the original multiplied by, those included that it was before; taken over
   */
  void multiply(Tensor weight, List<WeightMultiplier> all) {
    giveUp();
    layer.replaceWeight(weight);
    multipliers = List.copyOf(all);
    dense = true;
  }

  /** Takes over codes that have all that is merged in them. */
  void replace(QuantisedWeight codes) {
    if (keptCodes == null) {
      QuantisedWeight present = Objects.requireNonNull(layer.codes());
      keptCodes = present.withDtype(present.dtype());
    }
    layer.putCodes(codes);
    dense = true;
  }

  /** Takes over a copy of the original into which patches alone are written. */
  void replace(Tensor copy, List<Patch> written) {
    if (keptWeight == null) {
      try (var _ = new PointerScope()) {
        keptWeight = Scope.own(divided(layer.presentWeight()));
      }
    }
    dropPatches();
    dropMultipliers();
    layer.replaceWeight(copy);
    patches = List.copyOf(written);
    dense = false;
  }

  /** Takes over patches that were written into the present weight, beside others or instead. */
  void add(List<Patch> written, boolean instead) {
    if (!instead) {
      giveUp();
      var all = new ArrayList<>(patches);
      all.addAll(written);
      patches = List.copyOf(all);
      return;
    }
    List<Patch> left = patches;
    patches = List.copyOf(written);
    for (Patch patch : patches) {
      if (!resting.remove(patch.adapter(), patch)) {
        giveUp(patch.adapter());
      }
    }
    for (int i = 0; i < left.size(); i++) {
      rest(left.get(i), i == 0);
    }
  }

  private void rest(Patch patch, boolean bare) {
    if (bare && patch.ready() != null && patches.stream().noneMatch(p -> p.is(patch.adapter()))) {
      patch.leftBare(layer.presentWeight());
      resting.put(patch.adapter(), patch);
    } else {
      patch.close();
    }
  }

  void replaceBias(@Nullable Tensor bias, boolean instead) {
    if (bias != null) {
      if (keptBias == null) {
        keptBias = Scope.own(Objects.requireNonNull(layer.bias()));
      }
      layer.replaceBias(bias);
    } else if (instead) {
      restoreBias();
    }
  }

  /** An adapter's entries are others from here on: what stands on top of them is written again. */
  void changed(Adapter adapter) {
    giveUp(adapter);
    if (patches.stream().noneMatch(patch -> patch.is(adapter))) {
      return;
    }
    Tensor weight = layer.presentWeight();
    patches.reversed().forEach(patch -> patch.undo(weight));
    patches =
        patches.stream()
            .map(
                patch -> {
                  patch.close();
                  Adapter of = patch.adapter();
                  return Patch.write(of, Objects.requireNonNull(of.entries()), weight);
                })
            .toList();
  }

  /** Puts weight and bias back, bit for bit. */
  void restore() {
    if (keptWeight != null) {
      layer.replaceWeight(keptWeight);
      keptWeight.close();
      keptWeight = null;
    } else if (keptCodes != null) {
      layer.putCodes(keptCodes);
      keptCodes = null;
    } else if (!patches.isEmpty()) {
      Tensor weight = layer.presentWeight();
      patches.reversed().forEach(patch -> patch.undo(weight));
    }
    if (!multipliers.isEmpty()) {
      try (var _ = new PointerScope()) {
        layer.replaceWeight(divided(layer.presentWeight()));
      }
      dropMultipliers();
    }
    restoreBias();
    dropPatches();
    dense = false;
  }

  private void restoreBias() {
    if (keptBias != null) {
      layer.replaceBias(keptBias);
      keptBias.close();
      keptBias = null;
    }
  }

  /** Makes what is merged the original. */
  void forget() {
    if (keptWeight != null) {
      keptWeight.close();
      keptWeight = null;
    }
    if (keptCodes != null) {
      keptCodes.close();
      keptCodes = null;
    }
    if (keptBias != null) {
      keptBias.close();
      keptBias = null;
    }
    dropPatches();
    dropMultipliers();
    dense = false;
  }

  private void dropMultipliers() {
    multipliers.forEach(WeightMultiplier::close);
    multipliers = List.of();
  }

  private void dropPatches() {
    giveUp();
    patches.forEach(Patch::close);
    patches = List.of();
  }
}
