package espalier.adapters;

import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** Layers named by the keys of an adapter's file, in the place of those that its config means. */
final class KeyedTargets {

  private KeyedTargets() {}

  /**
   * The config with exactly the layers that the keys name.
   *
   * @param keys with or without {@code base_model.model.}; what stands before the method's first
   *     tensor is a layer's path
   * @param warnings gets a sentence where the config's own targets differ
   * @throws ConfigException if the config has {@code target_parameters}, or the keys name no layer
   * @throws TargetException if the model lacks a layer that they name
   */
  static AdapterConfig of(
      AdapterConfig config,
      Collection<String> keys,
      Layer model,
      ModelFacts facts,
      List<String> warnings) {
    Targets own = config.targets();
    if (own.parameters() != null && !own.parameters().isEmpty()) {
      throw new ConfigException(
          "target_parameters is %s, but keys name layers and say nothing of stacked parameters; leave one of the two out"
              .formatted(own.parameters()));
    }
    Set<String> named = named(keys, "." + config.peftType().toLowerCase(Locale.ROOT) + "_");
    if (named.isEmpty()) {
      throw new ConfigException(
          "none of the %d keys belongs to an adapter of %s; a key is a layer's path and a tensor's name, such as model.layers.0.self_attn.q_proj.lora_A.weight"
              .formatted(keys.size(), config.peftType()));
    }
    List<String> unknown =
        named.stream().filter(path -> !model.layers().containsKey(path)).toList();
    if (!unknown.isEmpty()) {
      throw new TargetException(
          "the keys name %s, which the model does not have; they belong to another model"
              .formatted(unknown));
    }
    Set<String> meant = meant(config, model, facts);
    compare(named, meant, "the keys name %s, which the config does not", warnings);
    compare(meant, named, "the config names %s, which the keys do not", warnings);
    var paths = new Modules.Named(List.copyOf(named));
    return config.withTargets(own.withModules(paths).withExclude(null).withLayers(null, null));
  }

  private static Set<String> named(Collection<String> keys, String marker) {
    var named = new LinkedHashSet<String>();
    for (String key : keys) {
      String bare =
          key.startsWith(AdapterFormat.KEY_PREFIX)
              ? key.substring(AdapterFormat.KEY_PREFIX.length())
              : key;
      int end = bare.lastIndexOf(marker);
      if (end > 0) {
        named.add(bare.substring(0, end).replace(".base_layer.", "."));
      }
    }
    return named;
  }

  private static Set<String> meant(AdapterConfig config, Layer model, ModelFacts facts) {
    try {
      return new LinkedHashSet<>(Resolution.of(model, facts, config).modules());
    } catch (ConfigException | TargetException e) {
      return Set.of(); // the config may leave the choice to the keys
    }
  }

  private static void compare(
      Set<String> these, Set<String> those, String text, List<String> warnings) {
    var more = new ArrayList<>(these);
    more.removeAll(those);
    if (!more.isEmpty()) {
      warnings.add(text.formatted(more));
    }
  }
}
