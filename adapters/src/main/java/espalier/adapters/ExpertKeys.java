package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Keys of adapters on stacked parameters. The reference wraps a module once for each of its
 * parameters, in the order in which the module has them, and its keys name the wraps and not the
 * parameters: the last one stands outermost, each earlier one has one {@code base_layer} more
 * before it.
 */
public final class ExpertKeys {

  private ExpertKeys() {}

  /**
   * What the keys of each layer begin with.
   *
   * @param layers all layers of one adapter by path
   */
  public static Map<String, String> prefixes(Map<String, Adaptable> layers) {
    var owners = new TreeMap<String, List<String>>();
    var prefixes = new LinkedHashMap<String, String>();
    layers.forEach(
        (path, layer) -> {
          prefixes.put(path, path);
          if (layer instanceof ExpertWeight) {
            owners.computeIfAbsent(owner(path), _ -> new ArrayList<>()).add(path);
          }
        });
    owners.forEach(
        (owner, paths) -> {
          for (int i = 0; i < paths.size(); i++) {
            prefixes.put(paths.get(i), owner + ".base_layer".repeat(paths.size() - 1 - i));
          }
        });
    return prefixes;
  }

  private static String owner(String path) {
    return path.substring(0, Math.max(0, path.lastIndexOf('.')));
  }
}
