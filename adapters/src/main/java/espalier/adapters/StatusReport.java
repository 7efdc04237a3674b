package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AdapterStack;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Reads from a model how its adapters stand. */
final class StatusReport {

  private StatusReport() {}

  static List<LayerStatus> layers(AdapterSet set) {
    set.requireSome();
    return layers(set.model());
  }

  private static List<LayerStatus> layers(Layer model) {
    var all = new ArrayList<LayerStatus>();
    try (var _ = new PointerScope()) {
      model.walk(
          (path, layer) -> {
            if (layer instanceof Adaptable adaptable && !adaptable.adapters().all().isEmpty()) {
              all.add(layer(path, adaptable));
            }
          });
    }
    return all;
  }

  private static LayerStatus layer(String path, Adaptable layer) {
    AdapterStack stack = layer.adapters();
    var gradients = new TreeMap<String, LayerStatus.Gradients>();
    var devices = new TreeMap<String, String>();
    stack
        .all()
        .forEach(
            (name, adapter) -> {
              gradients.put(name, gradients(adapter));
              devices.put(
                  name,
                  adapter.state().values().stream()
                      .map(t -> t.device().str().getString())
                      .distinct()
                      .sorted()
                      .reduce((a, b) -> a + ", " + b)
                      .orElse(""));
            });
    return new LayerStatus(
        path,
        layer.typeName(),
        !stack.disabled(),
        stack.active(),
        stack.merged(),
        List.copyOf(gradients.keySet()),
        gradients,
        devices,
        quantisation(layer));
  }

  private static @Nullable String quantisation(Adaptable layer) {
    QuantisedWeight codes = layer instanceof Linear linear ? linear.quantised() : null;
    return codes == null ? null : codes.format();
  }

  private static LayerStatus.Gradients gradients(Adapter adapter) {
    Adapter owner = adapter instanceof Follower follower ? follower.leader() : adapter;
    var tensors = owner.parameters().values();
    long on = tensors.stream().filter(Tensor::requires_grad).count();
    if (on == 0) {
      return LayerStatus.Gradients.NO;
    }
    return on == tensors.size() ? LayerStatus.Gradients.YES : LayerStatus.Gradients.IRREGULAR;
  }

  static ModelStatus model(AdapterSet set) {
    set.requireSome();
    Layer model = set.model();
    var peftTypes = new LinkedHashMap<String, String>();
    set.entries().forEach((name, entry) -> peftTypes.put(name, entry.config().peftType()));
    List<LayerStatus> layers = layers(model);
    Counts counts = Counts.of(model);
    var gradients = new TreeMap<String, LayerStatus.Gradients>();
    for (LayerStatus layer : layers) {
      layer
          .gradients()
          .forEach(
              (name, g) ->
                  gradients.merge(name, g, (a, b) -> a == b ? a : LayerStatus.Gradients.IRREGULAR));
    }
    return new ModelStatus(
        model.typeName(),
        Map.copyOf(peftTypes),
        counts.trainable(),
        counts.total(),
        layers.size(),
        agreed(layers, LayerStatus::enabled),
        agreed(layers, LayerStatus::active),
        merged(layers, peftTypes),
        peftTypes.keySet().stream().sorted().toList(),
        gradients);
  }

  private static <T> @Nullable T agreed(List<LayerStatus> layers, Function<LayerStatus, T> value) {
    List<T> distinct = layers.stream().map(value).distinct().toList();
    return distinct.size() == 1 ? distinct.getFirst() : null;
  }

  // an adapter counts as merged if it is on every layer that has it
  private static @Nullable List<String> merged(
      List<LayerStatus> layers, Map<String, String> peftTypes) {
    var merged = new ArrayList<String>();
    for (String name : peftTypes.keySet()) {
      List<Boolean> states =
          layers.stream()
              .filter(layer -> layer.available().contains(name))
              .map(layer -> layer.merged().contains(name))
              .distinct()
              .toList();
      if (states.size() > 1) {
        return null;
      }
      if (states.contains(true)) {
        merged.add(name);
      }
    }
    return merged;
  }
}
