package espalier.adapters;

import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What {@code target_modules} names on a model.
 *
 * @param layers those that can be named, by path
 */
record ConcreteModules(
    Map<String, Layer> layers, ModelFacts facts, Targets targets, @Nullable TaskType task) {

  /** The same choice as names or a regular expression, and names as short as they can be. */
  Modules concrete() {
    Modules named = named(targets.modules());
    return named instanceof Modules.Named(var names)
        ? new Modules.Named(Suffixes.shortened(names, withContainers()))
        : named;
  }

  private Modules named(Modules modules) {
    return switch (modules) {
      case Modules.AllLinear() -> new Modules.Named(linear());
      case Modules.ByArchitecture() -> usual();
      case Modules.Named named -> named;
      case Modules.Matching matching -> matching;
    };
  }

  private Modules usual() {
    Modules usual = Architectures.usual(facts.modelType());
    if (usual != null) {
      return usual;
    }
    if (targets.parameters() != null) {
      return new Modules.Named(List.of());
    }
    throw new ConfigException(
        "target_modules is not set and nothing is known about the model type %s; name target_modules, such as all-linear, or target_parameters"
            .formatted(facts.modelType()));
  }

  private List<String> linear() {
    Set<String> names = new LinkedHashSet<>();
    layers.forEach(
        (path, layer) -> {
          if (layer instanceof Linear) {
            names.add(path);
          }
        });
    if (facts.outputHead() != null) {
      names.remove(facts.outputHead());
    } else if (task == TaskType.SEQ_CLS) {
      Stream.of("score", "classifier")
          .filter(layers::containsKey)
          .findFirst()
          .ifPresent(names::remove);
    }
    return List.copyOf(names);
  }

  /** All paths and what stands above them, as the reference has a module for each of them. */
  private Collection<String> withContainers() {
    Set<String> all = new LinkedHashSet<>();
    for (String path : layers.keySet()) {
      for (int dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
        all.add(path.substring(0, dot));
      }
      all.add(path);
    }
    return all;
  }
}
