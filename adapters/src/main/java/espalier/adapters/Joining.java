package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Rows;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** An adapter joins those that a model has: the checks, and then all of it or nothing. */
final class Joining {

  private final AdapterSet set;
  private final Map<Class<? extends Adaptable>, AdapterFactory> factories;
  private final boolean mixedMethods;

  Joining(
      AdapterSet set,
      Map<Class<? extends Adaptable>, AdapterFactory> factories,
      boolean mixedMethods) {
    this.set = set;
    this.factories = factories;
    this.mixedMethods = mixedMethods;
  }

  /** Tensors of a file that a new adapter is to have. */
  record Saved(Map<String, Tensor> tensors, LoadOptions options) {}

  /**
   * What came of it.
   *
   * @param fit where the tensors of the file went, or null without a file
   */
  record Joined(Entry entry, AdapterTensors.@Nullable Fit fit) {}

  Joined join(
      String name,
      AdapterConfig config,
      AttachOptions options,
      @Nullable Saved saved,
      List<String> warnings) {
    requireNew(name, config);
    warnings.addAll(config.warnings(configs()));
    AdapterConfig meant = config.on(set.model().layers(), set.facts());
    try (var replication = Replication.of(set.model(), meant, warnings);
        var attaching =
            new Attaching(
                set.model(),
                set.facts(),
                name,
                keyed(meant, options, warnings),
                options,
                factories)) {
      Entry entry = attaching.entry();
      requireSameParameters(entry);
      Map<String, Adaptable> biased = layersWithBias(entry);
      if (!biased.isEmpty()) {
        set.requireUnmerged("biases of the base can not be trained");
      }
      attaching.make();
      if (attaching.changesBase()) {
        set.requireUnmerged("the start of %s changes the base".formatted(name));
        entry.changedBase(true);
        entry.base(attaching.base());
      }
      AdapterTensors.Fit fit = null;
      if (saved != null) {
        var tensors = new AdapterTensors(entry, attaching.made(), biased, _ -> true);
        fit = Loading.fill(attaching, tensors, saved.tensors(), saved.options(), set.embeddings());
      }
      warnings.addAll(attaching.warnings());
      attaching.commit();
      if (!biased.isEmpty()) {
        BaseBiases biases = BaseBiases.of(biased);
        entry.biases(biases);
        if (fit != null) {
          fit.biases.forEach(biases::load);
        }
      }
      set.put(entry);
      entry.layers().values().forEach(layer -> layer.adapters().activate(set.active()));
      replication.keep();
      return new Joined(entry, fit);
    }
  }

  private AdapterConfig keyed(AdapterConfig config, AttachOptions options, List<String> warnings) {
    return options.keys().isEmpty()
        ? config
        : KeyedTargets.of(config, options.keys(), set.model(), set.facts(), warnings);
  }

  private Map<String, AdapterConfig> configs() {
    var configs = new LinkedHashMap<String, AdapterConfig>();
    set.entries().forEach((name, entry) -> configs.put(name, entry.config()));
    return configs;
  }

  private void requireNew(String name, AdapterConfig config) {
    boolean path = name.contains(".") || name.contains("/") || name.contains("\\");
    if (name.isEmpty() || path || name.equals(Rows.BASE)) {
      throw new ConfigException(
          "an adapter can not be called \"%s\"; choose a name without dots and slashes, for it becomes part of keys and folders"
              .formatted(name));
    }
    if (set.entries().containsKey(name)) {
      throw new AdapterException(
          "the adapter %s is there already; choose another name or delete it first"
              .formatted(name));
    }
    configs()
        .forEach(
            (other, theirs) -> {
              if (!mixedMethods && !theirs.peftType().equals(config.peftType())) {
                throw new AdapterException(
                    "%s is %s but the adapter %s of this model is %s; allow it with allowMixedMethods()"
                        .formatted(name, config.peftType(), other, theirs.peftType()));
              }
              if (config.bias() != BiasTraining.NONE && theirs.bias() != BiasTraining.NONE) {
                throw new AdapterException(
                    "%s trains biases of the base and so does %s; only one adapter of a model can"
                        .formatted(name, other));
              }
              config.requireBeside(other, theirs);
              theirs.requireBeside(name, config);
            });
  }

  private void requireSameParameters(Entry entry) {
    for (Entry other : set.entries().values()) {
      var own = new TreeSet<>(entry.parameters());
      var theirs = new TreeSet<>(other.parameters());
      if (!own.isEmpty() && !theirs.isEmpty() && !own.equals(theirs)) {
        throw new AdapterException(
            "%s targets the parameters %s but %s targets %s; all adapters of a model target the same"
                .formatted(entry.name(), own, other.name(), theirs));
      }
    }
  }

  private Map<String, Adaptable> layersWithBias(Entry entry) {
    var layers =
        new LinkedHashMap<String, Adaptable>(
            switch (entry.config().bias()) {
              case NONE -> Map.of();
              case ADAPTED -> entry.adapted();
              case ALL -> set.adaptables();
            });
    entry.saved().keySet().forEach(layers::remove);
    layers.values().removeIf(layer -> layer.bias() == null);
    return layers;
  }
}
