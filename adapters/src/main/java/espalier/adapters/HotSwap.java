package espalier.adapters;

import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** Tensors of an adapter exchanged in place, all of them between two forward passes. */
final class HotSwap {

  private final AdapterSet set;

  HotSwap(AdapterSet set) {
    this.set = set;
  }

  LoadResult swap(String name, AdapterConfig next, Map<String, Tensor> saved) {
    Entry entry = set.entry(name);
    requireUnmerged(name);
    Swapping swapping = entry.trained().swapping(next);
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      AdapterTensors tensors = set.tensors(entry);
      AdapterTensors.Fit fit = tensors.fit(saved, Map.of(), set.embeddings(), swapping::fitted);
      AdapterTensors.requireFit(fit, false, false);
      requireComplete(entry, fit);
      Loading.requireReplaceable(fit, set.embeddings());
      var zeros = zeros(entry, fit);
      return set.changed(() -> exchange(entry, fit, zeros, swapping, next));
    }
  }

  private void requireUnmerged(String name) {
    if (set.merged().contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and can not be swapped; unmerge it first".formatted(name));
    }
  }

  private static void requireComplete(Entry entry, AdapterTensors.Fit fit) {
    if (!fit.unexpected.isEmpty()) {
      throw new StateMismatchException(
          "%d tensors belong to no layer that %s is on, the first is %s; load the adapter under a name of its own"
              .formatted(fit.unexpected.size(), entry.name(), fit.unexpected.first()));
    }
    for (String path : fit.incomplete) {
      Adapter adapter = entry.on(Objects.requireNonNull(entry.layers().get(path)));
      fit.of(path)
          .forEach(
              (tensor, value) -> {
                Tensor own = Objects.requireNonNull(adapter.state().get(tensor));
                if (!Arrays.equals(AdapterTensors.shape(own), AdapterTensors.shape(value))) {
                  throw new StateMismatchException(
                      "%s: %s has another rank than here but the other factor is missing; the file is incomplete"
                          .formatted(path, tensor));
                }
              });
      if (!entry.adapted().containsKey(path)) {
        throw new StateMismatchException(
            "%s is trained by %s but not by the adapter that is to take its place; load it under a name of its own"
                .formatted(path, entry.name()));
      }
    }
    BaseBiases biases = entry.biases();
    if (biases != null && !fit.biases.keySet().equals(biases.trained().keySet())) {
      throw new StateMismatchException(
          "%s trains biases of the base and the adapter that is to take its place does not; load it under a name of its own"
              .formatted(entry.name()));
    }
  }

  /** For what the file lacks: nothing is added there. */
  private static Map<Adapter, Map<String, Tensor>> zeros(Entry entry, AdapterTensors.Fit fit) {
    var zeros = new LinkedHashMap<Adapter, Map<String, Tensor>>();
    for (String path : fit.incomplete) {
      Adapter adapter = entry.on(Objects.requireNonNull(entry.layers().get(path)));
      var missing = new LinkedHashMap<String, Tensor>();
      adapter
          .state()
          .forEach(
              (tensor, own) -> {
                if (!fit.of(path).containsKey(tensor)) {
                  missing.put(tensor, own.new_zeros(own.sizes()));
                }
              });
      zeros.put(adapter, missing);
    }
    return zeros;
  }

  private LoadResult exchange(
      Entry entry,
      AdapterTensors.Fit fit,
      Map<Adapter, Map<String, Tensor>> zeros,
      Swapping swapping,
      AdapterConfig next) {
    // not Adapter.load: the swapping has made shapes fit that a method would refuse
    zeros.forEach(Adapter::exchange);
    fit.byLayer.forEach(
        (path, tensors) ->
            entry.on(Objects.requireNonNull(entry.layers().get(path))).exchange(tensors));
    BaseBiases biases = entry.biases();
    if (biases != null) {
      fit.biases.forEach(biases::load);
    }
    Map<String, Adapter> adapters = adapted(entry);
    adapters.forEach((path, adapter) -> swapping.retune(adapter, path));
    var warnings = new ArrayList<>(next.warnings(Map.of(entry.name(), entry.trained())));
    entry.config(swapping.settled(adapters, entry.config().targets()), next);
    if (!fit.missing.isEmpty()) {
      warnings.add(
          "%d tensors are missing and are zero now, the first is %s"
              .formatted(fit.missing.size(), fit.missing.first()));
    }
    warnings.addAll(Loading.embeddings(fit, set.embeddings()));
    return new LoadResult(
        entry.attached(List.of()),
        List.copyOf(fit.missing),
        List.of(),
        List.of(),
        AdapterSet.told(warnings));
  }

  private static Map<String, Adapter> adapted(Entry entry) {
    var adapters = new LinkedHashMap<String, Adapter>();
    entry.adapted().forEach((path, layer) -> adapters.put(path, entry.on(layer)));
    return adapters;
  }

  /** Widens the factors of all adapters with zeros. */
  void widen(int rank) {
    set.requireSome();
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      var wider = new LinkedHashMap<Adapter, Map<String, Tensor>>();
      var swappings = new LinkedHashMap<Entry, Swapping>();
      for (Entry entry : set.entries().values()) {
        requireUnmerged(entry.name());
        Swapping swapping = entry.config().swapping(entry.config());
        swappings.put(entry, swapping);
        adapted(entry)
            .forEach(
                (path, adapter) -> {
                  var tensors = new LinkedHashMap<String, Tensor>();
                  adapter
                      .state()
                      .keySet()
                      .forEach(
                          name -> tensors.put(name, swapping.widened(adapter, path, name, rank)));
                  wider.put(adapter, tensors);
                });
      }
      set.lock()
          .change(
              () -> {
                wider.forEach(Adapter::exchange);
                swappings.forEach(
                    (entry, swapping) ->
                        entry.config(
                            swapping.settled(adapted(entry), entry.config().targets()),
                            entry.trained()));
              });
    }
  }
}
