package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Shard;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The tensors of a model's adapters, read out and put in. */
final class AdapterState {

  private final AdapterSet set;

  AdapterState(AdapterSet set) {
    this.set = set;
  }

  Map<String, Tensor> parameters() {
    return ofTrained(AdapterTensors::trained);
  }

  Map<String, Shard> shards() {
    return ofTrained(AdapterTensors::shards);
  }

  private <T> Map<String, T> ofTrained(Function<AdapterTensors, Map<String, T>> what) {
    var training = new LinkedHashMap<String, AdapterTensors>();
    set.entries()
        .forEach(
            (name, entry) -> {
              AdapterTensors tensors = tensors(entry);
              if (!tensors.trained().isEmpty()) {
                training.put(name, tensors);
              }
            });
    boolean alone = training.size() == 1;
    var all = new LinkedHashMap<String, T>();
    training.forEach(
        (name, tensors) ->
            what.apply(tensors)
                .forEach((key, each) -> all.put(alone ? key : name + "/" + key, each)));
    return Collections.unmodifiableMap(all);
  }

  Map<String, Tensor> state(String name, SaveEmbeddings embeddings) {
    Entry entry = set.entry(name);
    set.on(name).values().forEach(Adapter::requireFilled);
    Map<String, Tensor> state = tensors(entry).state();
    boolean targeted = onEmbeddings(entry);
    // with token rows a small file is meant, also where the head has a branch
    boolean asked = (targeted && entry.config().tokens() == null) || resized();
    if (embeddings == SaveEmbeddings.NO || (embeddings == SaveEmbeddings.AUTO && !asked)) {
      return state;
    }
    set.embeddings()
        .forEach(
            (path, layer) -> {
              String key = AdapterFormat.KEY_PREFIX + path;
              if (entry.adapted().containsKey(path)) {
                state.put(key + ".base_layer.weight", Ranks.wholeWeight(layer));
              } else if (!targeted && !entry.saved().containsKey(path)) {
                state.put(key + ".weight", Ranks.wholeWeight(layer));
              }
            });
    return state;
  }

  private void tellWhyEmbeddings(Entry entry) {
    if (resized()) {
      AdapterSet.told(
          List.of(
              "the model has another number of tokens than its config on disk, so its embeddings are saved with %s; say SaveEmbeddings.NO where new rows are trained by themselves"
                  .formatted(entry.name())));
    } else if (onEmbeddings(entry) && entry.config().tokens() == null) {
      AdapterSet.told(
          List.of(
              "target_modules of %s name an embedding, so the base's embeddings are saved with it; say SaveEmbeddings.NO to leave them out"
                  .formatted(entry.name())));
    }
  }

  /** Whether the model has another number of tokens than its config on disk. */
  private boolean resized() {
    String input = set.facts().inputEmbedding();
    Adaptable layer = input == null ? null : set.adaptables().get(input);
    if (layer == null || set.facts().vocabulary() == 0) {
      return false;
    }
    long[] shape = AdapterTensors.shape(layer.weight());
    Shard shard = Ranks.ofWeight(layer);
    return (shard == null ? shape : shard.wholeShape(shape))[0] != set.facts().vocabulary();
  }

  AdapterContents contents(String name, SaveStart how, SaveEmbeddings embeddings) {
    Entry entry = set.entry(name);
    AdapterConfig config = entry.config();
    Map<String, Tensor> state = state(name, embeddings);
    if (embeddings == SaveEmbeddings.AUTO) {
      tellWhyEmbeddings(entry);
    }
    Map<String, Tensor> initial = tensors(entry).initial();
    boolean plain =
        switch (how) {
          case AS_TRAINED -> false;
          case PLAIN -> true;
          case AUTO -> config.unrepeatableStart() && config.withoutStartRefusal() == null;
        };
    if (initial.isEmpty() || !plain) {
      return new AdapterContents(
          config,
          state,
          config.unrepeatableStart() ? initial : Map.of(),
          config.needsItsBase() ? entry.base() : Map.of());
    }
    var whole = new LinkedHashMap<>(state);
    set.embeddings().forEach((path, layer) -> putWhole(path, layer, entry, whole));
    return config.withoutStart(whole, initial);
  }

  /** A base weight that is saved along is the one before the start took something out of it. */
  private static void putWhole(
      String path, Adaptable layer, Entry entry, Map<String, Tensor> state) {
    Tensor taken = entry.adapted().containsKey(path) ? entry.on(layer).takenOut() : null;
    if (taken != null) {
      state.computeIfPresent(
          AdapterFormat.KEY_PREFIX + path + ".base_layer.weight",
          (_, w) ->
              w.to(ScalarType.Float)
                  .add(Ranks.whole(Ranks.ofWeight(layer), taken))
                  .to(w.scalar_type().intern()));
    }
  }

  // by name and not by layer, as the reference has it: a file that says all-linear saves no head
  private boolean onEmbeddings(Entry entry) {
    return switch (entry.config().targets().modules()) {
      case Modules.Named(var names) -> names.contains("embed_tokens") || names.contains("lm_head");
      case Modules.Matching _ ->
          set.embeddings().keySet().stream().anyMatch(entry.adapted()::containsKey);
      case Modules.AllLinear(), Modules.ByArchitecture() -> false;
    };
  }

  AdapterTensors tensors(Entry entry) {
    BaseBiases biases = entry.biases();
    return new AdapterTensors(
        entry,
        set.on(entry.name()),
        biases == null ? Map.of() : biases.layers(),
        path -> set.entries().values().stream().anyMatch(e -> e.adapted().containsKey(path)));
  }

  LoadResult load(String name, Map<String, Tensor> saved, LoadOptions options) {
    Entry entry = set.entry(name);
    if (set.merged().contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and can not be loaded into; unmerge it first".formatted(name));
    }
    AdapterTensors.Fit fit = tensors(entry).fit(saved, options.keyMapping(), set.embeddings());
    AdapterTensors.requireFit(fit, options.ignoreMismatched(), options.strict());
    Loading.requireReplaceable(fit, set.embeddings());
    try (var _ = new PointerScope()) {
      var adapters = set.on(name);
      Loading.requireLoadable(fit, adapters);
      set.lock().change(() -> load(entry, adapters, fit));
    }
    return finish(entry, fit, List.of());
  }

  private static void load(Entry entry, Map<String, Adapter> adapters, AdapterTensors.Fit fit) {
    fit.byLayer.forEach(
        (path, tensors) -> Objects.requireNonNull(adapters.get(path)).load(tensors));
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
