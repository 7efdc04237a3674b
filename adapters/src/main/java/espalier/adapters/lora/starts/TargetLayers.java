package espalier.adapters.lora.starts;

import espalier.adapters.ModelFacts;
import espalier.adapters.Resolution;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * The layers that a config means, before anything is attached to them.
 *
 * @param linear linear layers by path, in the model's order
 * @param others paths of the other layers that get an adapter
 * @param parameters paths of the stacked parameters that get one
 */
record TargetLayers(Map<String, Linear> linear, List<String> others, List<String> parameters) {

  static TargetLayers of(Layer model, ModelFacts facts, LoraConfig config) {
    var linear = new LinkedHashMap<String, Linear>();
    var others = new ArrayList<String>();
    Resolution resolution = Resolution.of(model, facts, config);
    Map<String, Layer> layers = model.layers();
    for (String path : resolution.modules()) {
      if (layers.get(path) instanceof Linear layer) {
        linear.put(path, layer);
      } else {
        others.add(path);
      }
    }
    return new TargetLayers(linear, others, resolution.parameters());
  }

  /** Paths of all targets that are no linear layers. */
  List<String> notLinear() {
    return Stream.concat(others.stream(), parameters.stream()).toList();
  }

  /** The largest side of any parameter of a model. */
  static long widest(Layer model) {
    long widest = 1;
    for (var parameter : model.namedParameters().values()) {
      for (long side : parameter.shape()) {
        widest = Math.max(widest, side);
      }
    }
    return widest;
  }
}
