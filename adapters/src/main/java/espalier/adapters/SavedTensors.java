package espalier.adapters;

import static java.util.stream.Collectors.toCollection;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Shard;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What is saved of the adapters of a model. */
final class SavedTensors {

  private final AdapterSet set;

  SavedTensors(AdapterSet set) {
    this.set = set;
  }

  Map<String, Tensor> state(String name, SaveEmbeddings embeddings) {
    Entry entry = set.entry(name);
    set.on(name).values().forEach(Adapter::requireFilled);
    Map<String, Tensor> state = set.tensors(entry).state();
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
    if (set.referenceRefusals()) {
      requireOneMethod(name);
    }
    Entry entry = set.entry(name);
    AdapterConfig config = entry.config();
    Map<String, Tensor> state = state(name, embeddings);
    if (embeddings == SaveEmbeddings.AUTO) {
      tellWhyEmbeddings(entry);
    }
    Map<String, Tensor> initial = set.tensors(entry).initial();
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

  private void requireOneMethod(String name) {
    Set<String> methods =
        set.entries().values().stream()
            .map(entry -> entry.config().peftType())
            .collect(toCollection(TreeSet::new));
    if (methods.size() > 1) {
      throw new UnsupportedAdapterException(
          "%s can not be saved because its model has adapters of %s and the reference saves none of them; switch referenceRefusals off to save each in a folder of its own"
              .formatted(name, methods));
    }
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
}
