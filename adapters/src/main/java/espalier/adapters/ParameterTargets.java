package espalier.adapters;

import espalier.nn.Layer;
import espalier.nn.Linear;
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
   * @return paths of stacked parameters, and of linear layers whose weight is named: LoRA on the
   *     weight is LoRA on the layer, in numbers and in the file
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
                      if (names.stream().noneMatch(name -> Modules.endsWith(full, name))) {
                        return;
                      }
                      if (layer.getClass() == Linear.class && parameter.equals("weight")) {
                        found.add(path);
                      } else {
                        throw new UnsupportedAdapterException(
                            "target_parameters has %s, which is a parameter of a %s; name %s in target_modules instead"
                                .formatted(full, layer.typeName(), path));
                      }
                    }));
    return found;
  }
}
