package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import espalier.adapters.combine.LoraTensors.OnLayer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Which layers of the sources have the factors of another layer, because both share one weight and
 * {@code ensure_weight_tying} is set. Such a layer gets those of the combination there: combined by
 * itself it would get others, as a decomposition or a random mask does not treat A and B alike.
 *
 * @param leaders for each layer that follows another the path of that one
 */
record Ties(Map<String, String> leaders) {

  /**
   * Finds the ties by the factors, so that no model is needed.
   *
   * @throws ConfigException if one source ties two layers and another trains them apart
   */
  static Ties of(List<SourceAdapter> sources) {
    var leaders = new LinkedHashMap<String, String>();
    sources.forEach(source -> leaders.putAll(in(source)));
    for (SourceAdapter source : sources) {
      Map<String, String> own = in(source);
      leaders.forEach(
          (follower, leader) -> {
            if ((source.has(follower) || source.has(leader)) && !leader.equals(own.get(follower))) {
              throw new ConfigException(
                  "%s trains %s and %s apart but another adapter ties them with ensure_weight_tying; combine adapters that agree on it"
                      .formatted(source.name(), leader, follower));
            }
          });
    }
    return new Ties(leaders);
  }

  private static Map<String, String> in(SourceAdapter source) {
    var leaders = new LinkedHashMap<String, String>();
    if (source.config().ensureWeightTying()) {
      Map<String, OnLayer> layers = source.tensors().layers();
      layers.forEach(
          (path, leader) -> {
            if (leader.embedding() && !leaders.containsKey(path)) {
              layers.forEach(
                  (other, layer) -> {
                    if (!other.equals(path)
                        && !leaders.containsKey(other)
                        && leader.following(layer.embedding()).sameFactors(layer)) {
                      leaders.put(other, path);
                    }
                  });
            }
          });
    }
    return leaders;
  }

  boolean follows(String path) {
    return leaders.containsKey(path);
  }

  /** Whether the combination is tied: as its sources are, or as the first one says. */
  boolean ensured(List<SourceAdapter> sources) {
    return !leaders.isEmpty()
        || (sources.getFirst().config().ensureWeightTying()
            && sources.stream()
                .filter(source -> !source.config().ensureWeightTying())
                .flatMap(source -> source.tensors().layers().values().stream())
                .noneMatch(OnLayer::embedding));
  }
}
