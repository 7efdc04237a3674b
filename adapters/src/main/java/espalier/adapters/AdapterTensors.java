package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Layer;
import espalier.nn.Partition;
import espalier.nn.Shard;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The tensors of one adapter under their keys in a file. */
final class AdapterTensors {

  /** A tensor's place: the adapter on a layer, and the tensor's name there. */
  private record Place(String path, Adapter adapter, String name) {
    @Nullable Shard shard() {
      return adapter.shard(name);
    }
  }

  private final Entry entry;
  private final Map<String, String> prefixes;
  private final Map<String, Place> places = new LinkedHashMap<>(); // by key without the prefix
  private final Map<String, String> biasKeys = new LinkedHashMap<>(); // by path of the layer
  private final Map<String, Adaptable> biased;

  /**
   * Keys of an adapter.
   *
   * @param adapters what it has on each layer, by path
   * @param biased the layers whose biases it trains, by path
   * @param wrapped whether some adapter is on the layer at a path, for the keys of biases
   */
  AdapterTensors(
      Entry entry,
      Map<String, Adapter> adapters,
      Map<String, Adaptable> biased,
      Predicate<String> wrapped) {
    this.entry = entry;
    prefixes = entry.config().format().keyPrefixes(entry.adapted());
    adapters.forEach(
        (path, adapter) -> {
          String prefix = prefix(path);
          savedNames(adapter)
              .forEach(
                  name -> places.put(Layer.join(prefix, name), new Place(path, adapter, name)));
        });
    this.biased = biased;
    for (String path : biased.keySet()) {
      biasKeys.put(path, path + (wrapped.test(path) ? ".base_layer.bias" : ".bias"));
    }
  }

  private String prefix(String path) {
    return entry.adapted().containsKey(path) ? prefixes.getOrDefault(path, path) : path;
  }

  private Map<String, Tensor> saved(Adapter adapter) {
    if (adapter instanceof Follower follower) {
      var all = new LinkedHashMap<>(follower.shown());
      all.putAll(adapter.state());
      return all;
    }
    return adapter instanceof SavedModule || adapter instanceof TokenAdapter
        ? adapter.state()
        : entry.config().format().saved(adapter);
  }

  private Set<String> savedNames(Adapter adapter) {
    boolean formatted =
        !(adapter instanceof Follower
            || adapter instanceof SavedModule
            || adapter instanceof TokenAdapter);
    return formatted ? entry.config().format().savedNames(adapter) : saved(adapter).keySet();
  }

  /** All tensors by their full key, in the order of the layers; split ones are put together. */
  Map<String, Tensor> state() {
    var state = new LinkedHashMap<String, Tensor>();
    places.forEach(
        (key, place) -> {
          Tensor tensor = saved(place.adapter()).get(place.name());
          if (tensor != null) {
            state.put(AdapterFormat.KEY_PREFIX + key, Ranks.whole(place.shard(), tensor));
          }
        });
    biasKeys.forEach(
        (path, key) ->
            state.put(AdapterFormat.KEY_PREFIX + key, Ranks.whole(biasShard(path), bias(path))));
    return state;
  }

  private Tensor bias(String path) {
    return BaseBiases.bias(Objects.requireNonNull(biased.get(path), path));
  }

  private @Nullable Shard biasShard(String path) {
    Partition partition = Objects.requireNonNull(biased.get(path), path).partition();
    return partition == null ? null : partition.bias();
  }

  /** First values of what the start took out of the base, by their full key. */
  Map<String, Tensor> initial() {
    var initial = new LinkedHashMap<String, Tensor>();
    places.forEach(
        (key, place) -> {
          Tensor first = place.adapter().initial().get(place.name());
          if (first != null) {
            initial.put(AdapterFormat.KEY_PREFIX + key, Ranks.whole(place.shard(), first));
          }
        });
    return initial;
  }

  /** The tensors that collect gradients, by their full key. */
  Map<String, Tensor> trained() {
    var trained = new LinkedHashMap<String, Tensor>();
    places.forEach(
        (key, place) -> {
          Tensor parameter = place.adapter().parameters().get(place.name());
          if (parameter != null && parameter.requires_grad()) {
            trained.put(AdapterFormat.KEY_PREFIX + key, parameter);
          }
        });
    var seen = new HashSet<Long>();
    biasKeys.forEach(
        (path, key) -> {
          Tensor bias = bias(path);
          if (bias.requires_grad() && seen.add(bias.data_ptr().address())) { // replicas share one
            trained.put(AdapterFormat.KEY_PREFIX + key, bias);
          }
        });
    return trained;
  }

  /** How those of {@link #trained} are split over ranks; those that are absent are whole. */
  Map<String, Shard> shards() {
    var shards = new LinkedHashMap<String, Shard>();
    places.forEach((key, place) -> put(shards, key, place.shard()));
    biasKeys.forEach((path, key) -> put(shards, key, biasShard(path)));
    shards.keySet().retainAll(trained().keySet());
    return shards;
  }

  private static void put(Map<String, Shard> shards, String key, @Nullable Shard shard) {
    if (shard != null) {
      shards.put(AdapterFormat.KEY_PREFIX + key, shard);
    }
  }

  /** What a set of saved tensors would do. */
  static final class Fit {
    final Map<String, Map<String, Tensor>> byLayer = new LinkedHashMap<>(); // path, name
    final Map<String, Map<String, Tensor>> shown = new LinkedHashMap<>(); // of those that follow
    final Map<String, Tensor> biases = new LinkedHashMap<>(); // path
    final Map<String, Tensor> embeddings = new LinkedHashMap<>(); // path: the base's own weight
    final TreeSet<String> missing = new TreeSet<>();
    final TreeSet<String> incomplete = new TreeSet<>(); // paths with something missing
    final TreeSet<String> unexpected = new TreeSet<>();
    final Map<String, String> mismatched = new TreeMap<>(); // key: sentence

    Map<String, Tensor> of(String path) {
      return byLayer.computeIfAbsent(path, _ -> new LinkedHashMap<>());
    }
  }

  /** What becomes of a saved tensor before it takes the place of another, or null if it can not. */
  @FunctionalInterface
  interface Shaping {
    @Nullable Tensor shaped(Adapter adapter, String name, Tensor saved);
  }

  /** Finds a place for each saved tensor; nothing is changed. */
  Fit fit(Map<String, Tensor> saved, Map<String, String> keyMapping, Map<String, Adaptable> bases) {
    return fit(
        saved,
        keyMapping,
        bases,
        (adapter, name, tensor) -> adapter.accepts(name, shape(tensor)) ? tensor : null);
  }

  /** Finds a place for each saved tensor in the shape that it will have there. */
  Fit fit(
      Map<String, Tensor> saved,
      Map<String, String> keyMapping,
      Map<String, Adaptable> bases,
      Shaping shaping) {
    var fit = new Fit();
    Map<String, Tensor> left =
        entry.config().format().upToDate(bare(saved, keyMapping), entry.adapted());
    places.forEach(
        (key, place) -> {
          String found = find(key, place, left);
          Tensor tensor = found == null ? null : left.remove(found);
          boolean shown = isShown(place);
          if (tensor == null) {
            if (!shown) { // else the leader has it, or misses it
              fit.missing.add(AdapterFormat.KEY_PREFIX + key);
              fit.incomplete.add(place.path());
            }
            return;
          }
          if (shown) {
            shown(place.path(), fit).put(place.name(), tensor);
            return;
          }
          Tensor part = Ranks.part(place.shard(), tensor);
          Tensor shaped = part == null ? null : shaping.shaped(place.adapter(), place.name(), part);
          if (shaped != null) {
            fit.of(place.path()).put(place.name(), shaped);
          } else {
            Tensor own = place.adapter().state().get(place.name());
            fit.mismatched.put(
                AdapterFormat.KEY_PREFIX + key,
                mismatch(place.path(), place.name(), tensor, own, place.shard()));
            fit.incomplete.add(place.path());
          }
        });
    fit.shown.forEach((path, tensors) -> agree(path, tensors, fit, shaping));
    biasKeys.keySet().forEach(path -> fitBias(path, left, fit));
    bases.forEach((path, layer) -> fitEmbedding(path, layer, left, fit));
    left.keySet().removeIf(this::repeatsBias);
    left.keySet().forEach(key -> fit.unexpected.add(AdapterFormat.KEY_PREFIX + key));
    return fit;
  }

  /** With {@code bias: all} the reference writes biases of layers that are saved whole thrice. */
  private boolean repeatsBias(String key) {
    return key.endsWith(".bias")
        && Stream.of(".modules_to_save.", ".modules_to_save.%s.", ".original_module.")
            .map(copy -> copy.formatted(entry.name()))
            .anyMatch(copy -> key.contains(copy) && places.containsKey(key.replace(copy, ".")));
  }

  private static boolean isShown(Place place) {
    return place.adapter() instanceof Follower
        && !place.adapter().state().containsKey(place.name());
  }

  private static Map<String, Tensor> shown(String path, Fit fit) {
    return fit.shown.computeIfAbsent(path, _ -> new LinkedHashMap<>());
  }

  /** What stands below a layer that follows another must be what stands there, or is taken so. */
  private void agree(String path, Map<String, Tensor> tensors, Fit fit, Shaping shaping) {
    String leaderPath = Objects.requireNonNull(entry.leaders().get(path));
    places.forEach(
        (key, place) -> {
          if (!place.path().equals(path) || !(place.adapter() instanceof Follower follower)) {
            return;
          }
          Tensor tensor = tensors.get(place.name());
          if (tensor == null) {
            return;
          }
          Map.Entry<String, Tensor> meant =
              follower.asLeader(Map.of(place.name(), tensor)).entrySet().iterator().next();
          Tensor shaped = shaping.shaped(follower.leader(), meant.getKey(), meant.getValue());
          Tensor other = fit.of(leaderPath).get(meant.getKey());
          if (shaped == null || (other != null && !same(other, shaped))) {
            fit.mismatched.put(
                AdapterFormat.KEY_PREFIX + key,
                "%s: %s is not what %s has, though ensure_weight_tying says that they are one"
                    .formatted(path, place.name(), leaderPath));
          } else if (other == null) {
            fit.of(leaderPath).put(meant.getKey(), shaped);
            fit.missing.remove(
                AdapterFormat.KEY_PREFIX + Layer.join(prefix(leaderPath), meant.getKey()));
            if (fit.of(leaderPath).keySet().equals(follower.leader().state().keySet())) {
              fit.incomplete.remove(leaderPath);
            }
          }
        });
  }

  private static boolean same(Tensor a, Tensor b) {
    return Arrays.equals(shape(a), shape(b))
        && a.equal(b.to(a.scalar_type().intern())); // waits for the device: once a tied tensor
  }

  private void fitBias(String path, Map<String, Tensor> left, Fit fit) {
    Tensor tensor = null;
    for (String spelling : List.of(path + ".base_layer.bias", path + ".bias")) {
      tensor = tensor == null ? left.remove(spelling) : tensor;
    }
    if (tensor == null) {
      fit.missing.add(AdapterFormat.KEY_PREFIX + biasKeys.get(path));
      return;
    }
    Tensor part = Ranks.part(biasShard(path), tensor);
    if (part == null || !Arrays.equals(shape(part), shape(bias(path)))) {
      fit.mismatched.put(
          AdapterFormat.KEY_PREFIX + biasKeys.get(path),
          mismatch(path, "the bias", tensor, bias(path), biasShard(path)));
    } else {
      fit.biases.put(path, part);
    }
  }

  private void fitEmbedding(String path, Adaptable layer, Map<String, Tensor> left, Fit fit) {
    Tensor own = layer.originalWeight();
    Shard shard = Ranks.ofWeight(layer);
    for (String key : List.of(path + ".base_layer.weight", path + ".weight")) {
      Tensor weight = left.remove(key);
      if (weight == null) {
        continue;
      }
      Tensor part = Ranks.part(shard, weight);
      if (part == null || !Arrays.equals(shape(part), shape(own))) {
        fit.mismatched.put(
            AdapterFormat.KEY_PREFIX + key,
            mismatch(path, "the base's weight", weight, own, shard) + resizing(weight, own, shard));
      } else {
        fit.embeddings.put(path, part);
      }
    }
  }

  private static String resizing(Tensor inFile, Tensor here, @Nullable Shard shard) {
    boolean rows = shard == null && inFile.dim() == 2 && inFile.size(1) == here.size(1);
    return rows ? ", so give the base %d tokens first".formatted(inFile.size(0)) : "";
  }

  private static String mismatch(
      String path, String name, Tensor inFile, @Nullable Tensor here, @Nullable Shard shard) {
    return "%s: %s is %s in the file but %s here"
        .formatted(
            path,
            name,
            Arrays.toString(shape(inFile)),
            here == null
                ? "absent"
                : Arrays.toString(shard == null ? shape(here) : shard.wholeShape(shape(here))));
  }

  private @Nullable String find(String key, Place place, Map<String, Tensor> left) {
    if (left.containsKey(key)) {
      return key;
    }
    String prefix = prefix(place.path());
    return entry.config().format().alternativeKeys(place.path(), prefix, place.name()).stream()
        .filter(left::containsKey)
        .findFirst()
        .orElse(null);
  }

  private static Map<String, Tensor> bare(
      Map<String, Tensor> saved, Map<String, String> keyMapping) {
    var mapping = new KeyMapping(keyMapping);
    var bare = new LinkedHashMap<String, Tensor>();
    saved.forEach(
        (key, tensor) -> {
          String name =
              key.startsWith(AdapterFormat.KEY_PREFIX)
                  ? key.substring(AdapterFormat.KEY_PREFIX.length())
                  : key;
          bare.put(mapping.apply(name), tensor);
        });
    return bare;
  }

  static long[] shape(Tensor tensor) {
    long[] shape = new long[(int) tensor.dim()];
    Arrays.setAll(shape, i -> tensor.size(i));
    return shape;
  }

  /** Refuses tensors of a wrong shape, all of them named. */
  static void requireFit(Fit fit, boolean ignoreMismatched, boolean strict) {
    if (!fit.mismatched.isEmpty() && !ignoreMismatched) {
      var sentences = new ArrayList<>(fit.mismatched.values());
      int shown = Math.min(5, sentences.size());
      throw new StateMismatchException(
          "%s%s; the config and the tensors do not belong together, or the base is another model"
              .formatted(
                  String.join("; ", sentences.subList(0, shown)),
                  sentences.size() > shown
                      ? " and %d more".formatted(sentences.size() - shown)
                      : ""));
    }
    if (!fit.missing.isEmpty() && strict) {
      throw new StateMismatchException(
          "%d tensors are missing, the first is %s; the file is incomplete or the config is another's"
              .formatted(fit.missing.size(), fit.missing.first()));
    }
  }
}
