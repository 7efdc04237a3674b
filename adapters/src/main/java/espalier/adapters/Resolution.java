package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Layer;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;

/**
 * The layers of a model that a config means.
 *
 * @param targets the config's targets with the names written out, as they go into the file
 * @param modules paths of the layers that get an adapter, in the model's order
 * @param parameters paths of the stacked parameters that get one
 * @param saved paths of the layers that are trained and saved whole
 * @param tokens the rows that are trained by themselves, by path of their layer
 * @param leaders for layers that share what is trained with another one the path of that one
 * @param unmatched names that match no layer
 * @param warnings what the user should know, sentences
 */
public record Resolution(
    Targets targets,
    List<String> modules,
    List<String> parameters,
    List<String> saved,
    Map<String, List<Integer>> tokens,
    Map<String, String> leaders,
    List<String> unmatched,
    List<String> warnings) {

  /** Copies the lists and maps. */
  public Resolution {
    modules = List.copyOf(modules);
    parameters = List.copyOf(parameters);
    saved = List.copyOf(saved);
    tokens = Collections.unmodifiableMap(new LinkedHashMap<>(tokens));
    leaders = Map.copyOf(leaders);
    unmatched = List.copyOf(unmatched);
    warnings = List.copyOf(warnings);
  }

  /**
   * Finds the layers; the model is not changed.
   *
   * @throws TargetException if there are none
   */
  public static Resolution of(Layer model, ModelFacts facts, AdapterConfig config) {
    return new TargetResolver(model, facts, config).resolve();
  }

  /**
   * The layers that get an adapter, by path.
   *
   * @throws UnsupportedAdapterException if one of them is of no kind that can have one
   */
  public Map<String, Adaptable> adaptables(Layer model) {
    Map<String, Layer> layers = model.layers();
    var found = new LinkedHashMap<String, Adaptable>();
    Stream.concat(modules.stream(), parameters.stream())
        .forEach(
            path -> {
              if (!(layers.get(path) instanceof Adaptable layer)) {
                throw new UnsupportedAdapterException(
                    "%s is a %s, which can not be adapted; name the layers in it"
                        .formatted(path, Objects.requireNonNull(layers.get(path)).typeName()));
              }
              found.put(path, layer);
            });
    return found;
  }
}
