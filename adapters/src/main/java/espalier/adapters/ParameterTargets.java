package espalier.adapters;

import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The stacked parameters that {@code target_parameters} names. */
final class ParameterTargets {

  private ParameterTargets() {}

  /**
   * Finds them.
   *
   * @param layers all layers but those that are parameters in a stack
   * @param stacked parameters in a stack, by path
   * @throws UnsupportedAdapterException if a name is another parameter's
   */
  static List<String> find(
      List<String> names, Map<String, Layer> layers, Map<String, Layer> stacked) {
    var found = new ArrayList<String>();
    stacked.forEach(
        (path, _) -> {
          if (names.stream().anyMatch(name -> Modules.endsWith(path, name))) {
            if (!path.contains(".")) {
              throw new UnsupportedAdapterException(
                  "target_parameters has %s, which is a parameter of the model itself; only parameters of a layer can be adapted"
                      .formatted(path));
            }
            found.add(path);
          }
        });
    layers.forEach(
        (path, layer) ->
            layer
                .parameters()
                .keySet()
                .forEach(
                    parameter -> {
                      String full = Layer.join(path, parameter);
                      if (names.stream().anyMatch(name -> Modules.endsWith(full, name))) {
                        throw new UnsupportedAdapterException(
                            "target_parameters has %s, which is a parameter of a %s; name %s in target_modules instead"
                                .formatted(full, layer.typeName(), path));
                      }
                    }));
    return found;
  }
}
