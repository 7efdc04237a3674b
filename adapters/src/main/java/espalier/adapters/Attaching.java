package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AttentionProjection;
import espalier.nn.Float8Weight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Makes all that one adapter puts on a model, and then puts it there: whatever fails, fails before
 * the model is touched.
 */
final class Attaching implements AutoCloseable {

  private final Layer model;
  private final String name;
  private final AttachOptions options;
  private final Map<Class<? extends Adaptable>, AdapterFactory> factories;
  private final AdapterConfig config;
  private final Resolution resolution;
  private final Map<String, Adaptable> adapted = new LinkedHashMap<>();
  private final Map<String, Adaptable> saved = new LinkedHashMap<>();
  private final Map<String, Adaptable> tokens = new LinkedHashMap<>();
  private final Map<String, Adapter> made = new LinkedHashMap<>();
  private final List<String> warnings = new ArrayList<>();

  Attaching(
      Layer model,
      ModelFacts facts,
      String name,
      AdapterConfig given,
      AttachOptions options,
      Map<Class<? extends Adaptable>, AdapterFactory> factories) {
    this.model = model;
    this.name = name;
    this.options = options;
    this.factories = factories;
    resolution = Resolution.of(model, facts, given);
    if (options.strictTargets() && !resolution.unmatched().isEmpty()) {
      throw new TargetException(
          "%s matches no layer; %s".formatted(resolution.unmatched(), resolution.warnings()));
    }
    config = given.withTargets(resolution.targets()).withHead(head(given.head(), facts));
    warnings.addAll(resolution.warnings());
    locate(facts);
    warnAboutStorage(given.targets().fanInFanOut());
  }

  private void warnAboutStorage(boolean said) {
    adapted.forEach(
        (path, layer) -> {
          if (layer instanceof Linear linear && linear.transposed() != said) {
            String warning =
                "fan_in_fan_out is %s but a %s stores its weight as %s; the layer decides"
                    .formatted(said, layer.typeName(), said ? "[out, in]" : "[in, out]");
            if (!warnings.contains(warning)) {
              warnings.add(warning);
            }
          }
        });
  }

  private ConfigHead head(ConfigHead head, ModelFacts facts) {
    differ("base_model_name_or_path", head.baseModel(), facts.name());
    differ("revision", head.revision(), facts.revision());
    ConfigHead own = facts.name() == null ? head : head.withBaseModel(facts.name());
    own = facts.revision() == null ? own : own.withRevision(facts.revision());
    return head.taskType() == null && facts.autoMapping() != null
        ? own.withAutoMapping(facts.autoMapping())
        : own;
  }

  private void differ(String field, @Nullable String before, @Nullable String now) {
    if (before != null && now != null && !before.equals(now)) {
      warnings.add("%s was %s and is now %s".formatted(field, before, now));
    }
  }

  private void locate(ModelFacts facts) {
    Map<String, Layer> layers = model.layers();
    for (String path : resolution.modules()) {
      if (!(layers.get(path) instanceof Adaptable adaptable)) {
        throw new UnsupportedAdapterException(
            "%s is a %s, which can not be adapted; name the layers in it"
                .formatted(path, Objects.requireNonNull(layers.get(path)).typeName()));
      }
      if (Architectures.bypasses(facts.modelType(), path)) {
        throw new UnsupportedAdapterException(
            "%s can not be adapted because %s models compute past it; take it out of target_modules"
                .formatted(path, facts.modelType()));
      }
      adapted.put(path, adaptable);
    }
    for (String path : resolution.parameters()) {
      adapted.put(path, (Adaptable) Objects.requireNonNull(layers.get(path)));
    }
    for (String path : resolution.saved()) {
      saved.put(path, (Adaptable) Objects.requireNonNull(layers.get(path)));
    }
    for (String path : resolution.tokens().keySet()) {
      tokens.put(path, (Adaptable) Objects.requireNonNull(layers.get(path)));
    }
  }

  /** Makes the adapters of all layers, which the model does not have yet. */
  void make() {
    try (var _ = new NoGradGuard()) {
      adapted.forEach((path, layer) -> made.put(path, create(path, layer, options.init())));
      saved.forEach((path, layer) -> made.put(path, whole(path, layer)));
      tokens.forEach((path, layer) -> made.put(path, rows(path, layer)));
    }
    warnAboutLayers();
  }

  private Adapter create(String path, Adaptable layer, InitSource init) {
    if (layer instanceof AttentionProjection && !config.adaptsAttention()) {
      throw new UnsupportedAdapterException(
          "%s is a %s and a part of attention, which %s does not adapt; take it out of target_modules"
              .formatted(path, layer.typeName(), config.peftType()));
    }
    try (var _ = new PointerScope()) {
      Ranks.require(config, layer, path);
      Adapter leader = leader(path, layer);
      if (leader != null) {
        String leaderPath = Objects.requireNonNull(resolution.leaders().get(path));
        return config.follow(leader, leaderPath, layer, path);
      }
      AdapterFactory factory = factories.getOrDefault(layer.getClass(), AdapterConfig::create);
      Adapter adapter = factory.create(config, layer, path, init.of(name, path));
      adapter.to(dtype(layer));
      Ranks.agree(adapter);
      empty(path, adapter, config.format().savedNames(adapter));
      return adapter;
    }
  }

  private SavedModule whole(String path, Adaptable layer) {
    try (var _ = new PointerScope()) {
      return leader(path, layer) instanceof SavedModule leader
          ? new FollowingModule(layer, leader)
          : empty(path, SavedModule.of(layer));
    }
  }

  private <A extends Adapter> A empty(String path, A adapter) {
    empty(path, adapter, adapter.state().keySet());
    return adapter;
  }

  private void empty(String path, Adapter adapter, Collection<String> names) {
    if (options.lowMemory()) {
      adapter.empty(
          names,
          tensor ->
              new StateMismatchException(
                  "%s: %s of the adapter %s was attached with lowMemory and never filled; load a file that has it, or attach without lowMemory"
                      .formatted(path, tensor, name)));
    }
  }

  private TokenAdapter rows(String path, Adaptable layer) {
    Ranks.requireRows(layer, path);
    if (leader(path, layer) instanceof TokenAdapter leader) {
      return new FollowingTokens(layer, leader);
    }
    var adapter = TokenAdapter.of(layer, Objects.requireNonNull(resolution.tokens().get(path)));
    adapter.to(dtype(layer));
    return empty(path, adapter);
  }

  private @Nullable Adapter leader(String path, Adaptable layer) {
    String leaderPath = resolution.leaders().get(path);
    if (leaderPath == null) {
      return null;
    }
    Adapter leader = Objects.requireNonNull(made.get(leaderPath));
    Ranks.requireTie(layer, path, leader);
    return leader;
  }

  /** Makes the adapter of one layer again, with other first values, and those that follow it. */
  void remake(String path, InitSource init) {
    if (!adapted.containsKey(path)) {
      return;
    }
    try (var _ = new NoGradGuard()) {
      replace(path, init);
      resolution
          .leaders()
          .forEach(
              (follower, leader) -> {
                if (leader.equals(path)) {
                  replace(follower, init);
                }
              });
    }
  }

  private void replace(String path, InitSource init) {
    Adaptable layer = Objects.requireNonNull(adapted.get(path));
    Adapter before = made.put(path, create(path, layer, init));
    if (before != null) {
      before.close();
    }
  }

  private ScalarType dtype(Adaptable layer) {
    ScalarType base = layer.dtype();
    if (!options.autocast()
        && layer instanceof Linear linear
        && linear.quantised() instanceof Float8Weight codes) {
      throw new UnsupportedAdapterException(
          "autocast_adapter_dtype is false, by which adapters take the dtype of the base, but that is %s, in which nothing can be computed; leave it true for adapters in float32"
              .formatted(codes.format()));
    }
    return switch (base) {
      case Double, Float -> base;
      case BFloat16, Half -> options.autocast() ? ScalarType.Float : base;
      default -> ScalarType.Float;
    };
  }

  private void warnAboutLayers() {
    var paths = new LinkedHashMap<String, List<String>>();
    adapted.forEach(
        (path, layer) ->
            config
                .warnings(layer, Objects.requireNonNull(made.get(path)))
                .forEach(w -> paths.computeIfAbsent(w, _ -> new ArrayList<>()).add(path)));
    paths.forEach(
        (warning, where) ->
            warnings.add(
                where.size() == 1
                    ? "%s: %s".formatted(where.getFirst(), warning)
                    : "%s and %d more: %s".formatted(where.getFirst(), where.size() - 1, warning)));
    String prefix = config.peftType().toLowerCase(Locale.ROOT) + "_";
    // An adapter from a file is mostly there to answer; nobody writes it under this name.
    if (prefix.contains(name) && !fromFile()) {
      warnings.add(
          "the name %s is part of %s, which other readers of the file trip over"
              .formatted(name, prefix));
    }
  }

  private boolean fromFile() {
    try (var _ = new PointerScope()) {
      return options.init().of(name, "").isBlank();
    }
  }

  Map<String, Adapter> made() {
    return made;
  }

  Entry entry() {
    return new Entry(name, config, resolution, adapted, saved, tokens);
  }

  List<String> warnings() {
    return warnings;
  }

  /** Whether some adapter takes something out of the base. */
  boolean changesBase() {
    return made.values().stream().anyMatch(adapter -> adapter.residual() != null);
  }

  /** The weights that the start changes, as they are before, by path. */
  Map<String, WeightSketch> base() {
    var base = new LinkedHashMap<String, WeightSketch>();
    if (config.needsItsBase()) {
      made.forEach(
          (path, adapter) -> {
            if (adapter.residual() != null) {
              base.put(path, WeightSketch.of(adapter.layer()));
            }
          });
    }
    return base;
  }

  /** Hands the adapters over to their layers. */
  void commit() {
    var done = new ArrayList<Adaptable>();
    try {
      var layers = new LinkedHashMap<>(adapted);
      layers.putAll(saved);
      layers.putAll(tokens);
      layers.forEach(
          (path, layer) -> {
            layer.adapters().attach(name, Objects.requireNonNull(made.get(path)));
            done.add(layer);
          });
      made.values().forEach(Attaching::rebase);
    } catch (RuntimeException e) {
      done.forEach(layer -> layer.adapters().detach(name));
      throw e;
    }
    made.clear();
  }

  private static void rebase(Adapter adapter) {
    Tensor residual = adapter.residual();
    if (residual != null) {
      adapter.layer().rebase(residual);
      adapter.dropResidual();
    }
  }

  /** Frees what was made and not handed over. */
  @Override
  public void close() {
    made.values().forEach(Adapter::close);
    made.clear();
  }
}
