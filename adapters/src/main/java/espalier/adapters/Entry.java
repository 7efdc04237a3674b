package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** One adapter of a model: its config and the layers that it is on. */
final class Entry {

  private final String name;
  private AdapterConfig config;
  private AdapterConfig trained;
  private final Map<String, Adaptable> adapted;
  private final Map<String, Adaptable> saved;
  private final Map<String, Adaptable> tokens;
  private final Map<String, String> leaders;
  private final List<String> parameters;
  private @Nullable BaseBiases biases;
  private boolean changedBase;
  private Map<String, WeightSketch> base = Map.of();

  /** What an adapter is on; the layers by path. */
  Entry(
      String name,
      AdapterConfig config,
      Resolution resolution,
      Map<String, Adaptable> adapted,
      Map<String, Adaptable> saved,
      Map<String, Adaptable> tokens) {
    this.name = name;
    this.config = config;
    trained = config;
    this.adapted = Collections.unmodifiableMap(adapted);
    this.saved = Collections.unmodifiableMap(saved);
    this.tokens = Collections.unmodifiableMap(tokens);
    parameters = resolution.parameters();
    leaders = resolution.leaders();
  }

  String name() {
    return name;
  }

  AdapterConfig config() {
    return config;
  }

  /** The config as the file had it, before ranks were widened. */
  AdapterConfig trained() {
    return trained;
  }

  void config(AdapterConfig other) {
    config(other, other);
  }

  /** Takes over another config, and what it was in the file. */
  void config(AdapterConfig other, AdapterConfig asTrained) {
    config = other;
    trained = asTrained;
  }

  /** Layers with a branch, stacked parameters included, by path. */
  Map<String, Adaptable> adapted() {
    return adapted;
  }

  List<String> parameters() {
    return parameters;
  }

  /** Layers that are trained whole, by path. */
  Map<String, Adaptable> saved() {
    return saved;
  }

  /** Layers of which some rows are trained, by path. */
  Map<String, Adaptable> tokens() {
    return tokens;
  }

  /** For layers that share what is trained with another one the path of that one. */
  Map<String, String> leaders() {
    return leaders;
  }

  /** All layers that hold something of this adapter, by path. */
  Map<String, Adaptable> layers() {
    var all = new LinkedHashMap<>(adapted);
    all.putAll(saved);
    all.putAll(tokens);
    return all;
  }

  /** What this adapter put on a layer. */
  Adapter on(Adaptable layer) {
    return Objects.requireNonNull(layer.adapters().find(name), name);
  }

  @Nullable BaseBiases biases() {
    return biases;
  }

  void biases(BaseBiases own) {
    biases = own;
  }

  /** Whether the start of this adapter changed the base for good. */
  boolean changedBase() {
    return changedBase;
  }

  void changedBase(boolean changed) {
    changedBase = changed;
  }

  /** What the weights were before the start changed them, by path of the layer. */
  Map<String, WeightSketch> base() {
    return base;
  }

  void base(Map<String, WeightSketch> before) {
    base = before;
  }

  void referenceRefusals(boolean on) {
    layers().values().forEach(layer -> on(layer).referenceRefusals(on));
  }

  void trainable(boolean on) {
    layers().values().forEach(layer -> on(layer).trainable(on));
    if (biases != null) {
      biases.trainable(on);
    }
  }

  Attached attached(List<String> warnings) {
    var modules = new ArrayList<>(adapted.keySet());
    modules.removeAll(parameters);
    return new Attached(
        name,
        config,
        modules,
        parameters,
        List.copyOf(saved.keySet()),
        List.copyOf(tokens.keySet()),
        warnings);
  }
}
