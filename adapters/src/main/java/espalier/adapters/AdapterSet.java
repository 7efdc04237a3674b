package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Collective;
import espalier.nn.ForwardLock;
import espalier.nn.Layer;
import espalier.nn.Partition;
import espalier.nn.Steady;
import java.lang.System.Logger.Level;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** The adapters that a model has, and where. */
final class AdapterSet {

  private static final System.Logger LOG = System.getLogger("espalier.adapters");

  private final Layer model;
  private final ModelFacts facts;
  private final Map<String, Entry> entries = new LinkedHashMap<>();
  private final ForwardLock lock;
  private List<String> active = List.of();
  private boolean referenceRefusals;

  AdapterSet(Layer model, ModelFacts facts) {
    this.model = model;
    this.facts = facts;
    lock = model instanceof Steady steady ? steady.forwardLock() : new ForwardLock();
  }

  /** Keeps forward passes and swaps apart. */
  ForwardLock lock() {
    return lock;
  }

  /** Makes a change while no forward pass is under way. */
  <T> T changed(Supplier<T> change) {
    var result = new AtomicReference<@Nullable T>();
    lock.change(() -> result.set(change.get()));
    return Objects.requireNonNull(result.get());
  }

  Layer model() {
    return model;
  }

  ModelFacts facts() {
    return facts;
  }

  // ---- by name

  Map<String, Entry> entries() {
    return Collections.unmodifiableMap(entries);
  }

  List<String> names() {
    return List.copyOf(entries.keySet());
  }

  Entry entry(String name) {
    Entry entry = entries.get(name);
    if (entry == null) {
      throw new AdapterException(
          "there is no adapter %s; the model has %s".formatted(name, entries.keySet()));
    }
    return entry;
  }

  void requireAll(Collection<String> names) {
    var unknown = new TreeSet<>(names);
    unknown.removeAll(entries.keySet());
    if (!unknown.isEmpty()) {
      throw new AdapterException(
          "there are no adapters %s; the model has %s".formatted(unknown, entries.keySet()));
    }
  }

  void requireSome() {
    if (entries.isEmpty()) {
      throw new TargetException("the model has no adapter; attach one first");
    }
  }

  void put(Entry entry) {
    entries.put(entry.name(), entry);
    entry.referenceRefusals(referenceRefusals);
  }

  boolean referenceRefusals() {
    return referenceRefusals;
  }

  void referenceRefusals(boolean on) {
    referenceRefusals = on;
    entries.values().forEach(entry -> entry.referenceRefusals(on));
  }

  void remove(String name) {
    entries.remove(name);
  }

  void clear() {
    entries.clear();
    active = List.of();
  }

  /** Names of the active adapters, in order. */
  List<String> active() {
    return active;
  }

  void active(List<String> names) {
    active = List.copyOf(new LinkedHashSet<>(names));
    allLayers().values().forEach(layer -> layer.adapters().activate(active));
  }

  // ---- by layer

  /** Every layer that can have adapters, by path. */
  Map<String, Adaptable> adaptables() {
    var all = new LinkedHashMap<String, Adaptable>();
    model.walk(
        (path, layer) -> {
          if (layer instanceof Adaptable adaptable) {
            all.put(path, adaptable);
          }
        });
    return all;
  }

  /** Those who compute the model together, or null if one process does. */
  @Nullable Collective ranks() {
    for (Adaptable layer : adaptables().values()) {
      Partition partition = layer.partition();
      if (partition != null) {
        return partition.ranks();
      }
    }
    return null;
  }

  /** Layers with something of any of these adapters, by path. */
  Map<String, Adaptable> layersOf(Collection<String> names) {
    var layers = new LinkedHashMap<String, Adaptable>();
    names.forEach(name -> layers.putAll(entry(name).layers()));
    return layers;
  }

  Map<String, Adaptable> allLayers() {
    return layersOf(entries.keySet());
  }

  /** What an adapter put on each layer, by path. */
  Map<String, Adapter> on(String name) {
    var all = new LinkedHashMap<String, Adapter>();
    Entry entry = entry(name);
    entry.layers().forEach((path, layer) -> all.put(path, entry.on(layer)));
    return Collections.unmodifiableMap(all);
  }

  /** What an adapter has to be saved and trained, by its keys in a file. */
  AdapterTensors tensors(Entry entry) {
    BaseBiases biases = entry.biases();
    return new AdapterTensors(
        entry,
        on(entry.name()),
        biases == null ? Map.of() : biases.layers(),
        path -> entries.values().stream().anyMatch(e -> e.adapted().containsKey(path)));
  }

  /** The layers that embed tokens and give logits, by path. */
  Map<String, Adaptable> embeddings() {
    Map<String, Adaptable> embeddings = adaptables();
    embeddings
        .keySet()
        .removeIf(path -> !path.equals(facts.inputEmbedding()) && !path.equals(facts.outputHead()));
    return embeddings;
  }

  // ---- merged

  /** Names of the merged adapters, in merge order. */
  List<String> merged() {
    var merged = new LinkedHashSet<String>();
    allLayers().values().forEach(layer -> merged.addAll(layer.adapters().merged()));
    return List.copyOf(merged);
  }

  void requireUnmerged(String what) {
    List<String> merged = merged();
    if (!merged.isEmpty()) {
      throw new IllegalStateException(
          "%s while %s is merged; unmerge first".formatted(what, merged));
    }
  }

  void unmerge() {
    allLayers().values().forEach(layer -> layer.adapters().unmerge());
  }

  /** Logs warnings and returns them. */
  static List<String> told(List<String> warnings) {
    warnings.forEach(warning -> LOG.log(Level.WARNING, warning));
    return List.copyOf(warnings);
  }
}
