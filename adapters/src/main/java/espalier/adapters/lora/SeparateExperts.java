package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.ModelFacts;
import espalier.adapters.Modules;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;

/**
 * Adapters of mixtures of experts from the time when each expert was three linear layers. The
 * experts are stacked parameters now, with gate and up in one, so that names, ranks and tensors
 * have to change.
 */
final class SeparateExperts {

  private SeparateExperts() {}

  /**
   * The config with today's names. What was {@code all-linear} had the experts in it and still has.
   *
   * @throws ConfigException if only a part of what is one parameter now is named
   */
  static LoraConfig renamed(LoraConfig config, Map<String, Layer> layers, ModelFacts facts) {
    ExpertNames names = ExpertNames.of(facts.modelType());
    if (names == null || layers.values().stream().noneMatch(ExpertWeight.class::isInstance)) {
      return config;
    }
    return switch (config.targets().modules()) {
      case Modules.Named(var given) -> renamed(config, given, names, layers);
      case Modules.AllLinear() -> {
        var all = new ArrayList<>(linear(layers, facts));
        names.parts().values().forEach(all::addAll);
        yield renamed(config, all, names, layers);
      }
      // The reference renames an unset target_modules as an empty one, so that beside
      // target_parameters the usual layers are left out.
      case Modules.ByArchitecture() when hasParameters(config) ->
          renamed(config, List.of(), names, layers);
      case Modules.Matching _, Modules.ByArchitecture() -> config;
    };
  }

  private static boolean hasParameters(LoraConfig config) {
    List<String> parameters = config.targets().parameters();
    return parameters != null && !parameters.isEmpty();
  }

  private static List<String> linear(Map<String, Layer> layers, ModelFacts facts) {
    return layers.entrySet().stream()
        .filter(e -> e.getValue() instanceof Linear && !e.getKey().equals(facts.outputHead()))
        .map(e -> last(e.getKey()))
        .distinct()
        .toList();
  }

  private static String last(String path) {
    return path.substring(path.lastIndexOf('.') + 1);
  }

  private static LoraConfig renamed(
      LoraConfig config, List<String> given, ExpertNames names, Map<String, Layer> layers) {
    var kept = new ArrayList<String>();
    var old = new TreeSet<String>();
    var parameters =
        new ArrayList<>(Objects.requireNonNullElse(config.targets().parameters(), List.of()));
    for (String target : given) {
      String parameter = names.parameter(target);
      boolean present =
          layers.entrySet().stream()
              .anyMatch(
                  e -> Modules.endsWith(e.getKey(), target) && e.getValue() instanceof Linear);
      if (parameter.isEmpty() || present) {
        kept.add(target);
      }
      if (!parameter.isEmpty() && named(layers, parameter)) {
        old.add(last(target));
        if (!parameters.contains(parameter)) {
          parameters.add(parameter);
        }
      }
    }
    var ranks = new LinkedHashMap<>(config.rankPattern().entries());
    var alphas = new LinkedHashMap<>(config.alphaPattern().entries());
    names
        .parts()
        .forEach(
            (parameter, parts) -> {
              var there = parts.stream().filter(old::contains).toList();
              if (parts.size() == 1 || there.isEmpty()) {
                return;
              }
              if (there.size() < parts.size()) {
                throw new ConfigException(
                    "target_modules names %s, but in this model %s are one parameter, %s; name all of them"
                        .formatted(there, parts, parameter));
              }
              // block-diagonal factors of all parts; alpha grows along, so that the factor stays
              String pattern = ".*\\." + parameter;
              ranks.put(pattern, config.r() * parts.size());
              alphas.put(pattern, config.alpha() * parts.size());
            });
    return config.toBuilder()
        .targets(config.targets().withModules(new Modules.Named(kept)).withParameters(parameters))
        .rankPattern(ranks)
        .alphaPattern(alphas)
        .build();
  }

  private static boolean named(Map<String, Layer> layers, String parameter) {
    return layers.entrySet().stream()
        .anyMatch(
            e -> e.getValue() instanceof ExpertWeight && Modules.endsWith(e.getKey(), parameter));
  }
}
