package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** Filling adapters with saved tensors. */
final class Loading {

  private Loading() {}

  /** Fills adapters that are made and not yet on the model. */
  static AdapterTensors.Fit fill(
      Attaching attaching,
      AdapterTensors tensors,
      Map<String, Tensor> saved,
      LoadOptions options,
      Map<String, Adaptable> bases) {
    AdapterTensors.Fit fit = tensors.fit(saved, options.keyMapping(), bases);
    AdapterTensors.requireFit(fit, options.ignoreMismatched(), options.strict());
    if (!options.lowMemory()) {
      // What the file lacks starts as a new adapter would.
      fit.incomplete.forEach(path -> attaching.remake(path, InitSource.seeded(0)));
    }
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      requireReplaceable(fit, bases);
      fit.byLayer.forEach(
          (path, values) -> {
            Adapter adapter = Objects.requireNonNull(attaching.made().get(path), path);
            fitting(path, () -> adapter.load(values));
          });
    }
    return fit;
  }

  /**
   * What takes tensors over, in the scope around both.
   *
   * @throws StateMismatchException for tensors that do not go together; none is taken over
   */
  static List<Runnable> loading(AdapterTensors.Fit fit, Map<String, Adapter> adapters) {
    var loading = new ArrayList<Runnable>();
    fit.byLayer.forEach(
        (path, values) -> {
          Adapter adapter = Objects.requireNonNull(adapters.get(path), path);
          fitting(path, () -> loading.add(adapter.loading(values)));
        });
    return loading;
  }

  private static void fitting(String path, Runnable body) {
    try {
      body.run();
    } catch (IllegalArgumentException e) {
      throw new StateMismatchException(path + ": " + e.getMessage());
    }
  }

  /** Refuses embeddings of the base that can not be taken over because something is merged. */
  static void requireReplaceable(AdapterTensors.Fit fit, Map<String, Adaptable> bases) {
    fit.embeddings.forEach(
        (path, weight) -> {
          Adaptable layer = Objects.requireNonNull(bases.get(path));
          List<String> merged = layer.adapters().merged();
          if (!merged.isEmpty() && differs(weight, layer)) {
            throw new IllegalStateException(
                "the file has another %s of the base, which can not be taken over while %s is merged into it; unmerge first"
                    .formatted(path, merged));
          }
        });
  }

  private static boolean differs(Tensor weight, Adaptable layer) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor own = layer.originalWeight();
      return !weight.to(own.scalar_type().intern()).equal(own);
    }
  }

  /** Takes over base embeddings that were saved along, where they differ from the model's. */
  static List<String> embeddings(AdapterTensors.Fit fit, Map<String, Adaptable> bases) {
    var warnings = new ArrayList<String>();
    var changed = new LinkedHashMap<Adaptable, Tensor>();
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      fit.embeddings.forEach(
          (path, weight) -> {
            Adaptable layer = Objects.requireNonNull(bases.get(path));
            Tensor own = layer.originalWeight();
            Tensor cast = weight.to(own.scalar_type().intern());
            if (!cast.equal(own)) { // waits for the device: once an embedding
              changed.put(layer, shared(changed, own, cast));
              warnings.add(
                  "%s of the base is replaced by the weight that was saved with the adapter"
                      .formatted(path));
            }
          });
      changed.forEach(Adaptable::rebase);
    }
    return warnings;
  }

  // Layers of one weight go on sharing it if the file has the same for both.
  private static Tensor shared(Map<Adaptable, Tensor> changed, Tensor own, Tensor cast) {
    for (Map.Entry<Adaptable, Tensor> other : changed.entrySet()) {
      boolean tied = other.getKey().originalWeight().data_ptr().equals(own.data_ptr());
      if (tied && other.getValue().equal(cast)) {
        return other.getValue();
      }
    }
    return cast.clone();
  }

  /**
   * What did not fit, as sentences.
   *
   * @param unfilled whether what is missing has no values now
   */
  static List<String> warnings(AdapterTensors.Fit fit, boolean unfilled) {
    var warnings = new ArrayList<String>();
    if (!fit.missing.isEmpty()) {
      warnings.add(
          "%d tensors are missing and %s, the first is %s"
              .formatted(
                  fit.missing.size(),
                  unfilled ? "must be filled before the adapter is used" : "start anew",
                  fit.missing.first()));
    }
    if (!fit.unexpected.isEmpty()) {
      warnings.add(
          "%d tensors belong to no layer of this adapter, the first is %s"
              .formatted(fit.unexpected.size(), fit.unexpected.first()));
    }
    if (!fit.mismatched.isEmpty()) {
      warnings.add("passed over: " + String.join("; ", fit.mismatched.values()));
    }
    return warnings;
  }
}
