package espalier.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
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

  /** The original weight; a copy in the caller's scope where entries of it are overwritten. */
  Tensor original() {
    if (keptWeight != null) {
      return keptWeight;
    }
    if (keptCodes != null) {
      return keptCodes.rows(0, keptCodes.out());
    }
    if (patches.isEmpty()) {
      return layer.presentWeight();
    }
    Tensor copy = layer.presentWeight().clone();
    patches.reversed().forEach(patch -> patch.undo(copy));
    return copy;
  }

  @Nullable Tensor originalBias() {
    return keptBias != null ? keptBias : layer.bias();
  }

  /** Takes over a weight that has all that is merged in it. */
  void replace(Tensor weight) {
    if (keptWeight == null) {
      Tensor present = layer.presentWeight();
      patches.reversed().forEach(patch -> patch.undo(present));
      keptWeight = Scope.own(present);
    }
    dropPatches();
    layer.replaceWeight(weight);
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
      keptWeight = Scope.own(layer.presentWeight());
    }
    dropPatches();
    layer.replaceWeight(copy);
    patches = List.copyOf(written);
    dense = false;
  }

  /** Takes over patches that were written into the present weight, beside others or instead. */
  void add(List<Patch> written, boolean instead) {
    var all = new ArrayList<>(instead ? List.of() : patches);
    all.addAll(written);
    if (instead) {
      dropPatches();
    }
    patches = List.copyOf(all);
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
    dense = false;
  }

  private void dropPatches() {
    patches.forEach(Patch::close);
    patches = List.of();
  }
}
