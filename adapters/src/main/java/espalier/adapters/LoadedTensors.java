package espalier.adapters;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** Tensors of a file that go into adapters of a model. */
final class LoadedTensors {

  private final AdapterSet set;

  LoadedTensors(AdapterSet set) {
    this.set = set;
  }

  /** Puts them in the place of those of an adapter that is there. */
  LoadResult load(String name, Map<String, Tensor> saved, LoadOptions options) {
    Entry entry = set.entry(name);
    if (set.merged().contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and can not be loaded into; unmerge it first".formatted(name));
    }
    AdapterTensors.Fit fit = set.tensors(entry).fit(saved, options.keyMapping(), set.embeddings());
    AdapterTensors.requireFit(fit, options.ignoreMismatched(), options.strict());
    Loading.requireReplaceable(fit, set.embeddings());
    try (var _ = new PointerScope()) {
      List<Runnable> loading = Loading.loading(fit, set.on(name));
      set.lock().change(() -> load(entry, loading, fit));
    }
    return finish(entry, fit, List.of());
  }

  private static void load(Entry entry, List<Runnable> loading, AdapterTensors.Fit fit) {
    loading.forEach(Runnable::run);
    BaseBiases biases = entry.biases();
    if (biases != null) {
      fit.biases.forEach(biases::load);
    }
  }

  /** Takes over saved embeddings, and tells what happened. */
  LoadResult finish(Entry entry, AdapterTensors.Fit fit, List<String> before) {
    var warnings = new ArrayList<>(before);
    warnings.addAll(Loading.embeddings(fit, set.embeddings()));
    boolean unfilled =
        set.on(entry.name()).values().stream().anyMatch(a -> !a.unfilled().isEmpty());
    warnings.addAll(Loading.warnings(fit, unfilled));
    return new LoadResult(
        entry.attached(List.of()),
        List.copyOf(fit.missing),
        List.copyOf(fit.unexpected),
        List.copyOf(fit.mismatched.keySet()),
        AdapterSet.told(warnings));
  }
}
