package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Scope;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Biases of the base that train along with one adapter. They stay changed while it is disabled. */
final class BaseBiases implements AutoCloseable {

  private final Map<String, Adaptable> layers;
  private final Map<String, Tensor> originals = new LinkedHashMap<>();

  private BaseBiases(Map<String, Adaptable> layers) {
    this.layers = layers;
  }

  /**
   * Gives each layer, all of which have one, a bias of its own to train, and those that shared one,
   * as replicas do, one together; the original may be mapped from a file.
   */
  static BaseBiases of(Map<String, Adaptable> layers) {
    var biases = new BaseBiases(layers);
    try (var _ = new PointerScope()) {
      var copies = new HashMap<Long, Tensor>(); // by the address of the original
      layers.forEach((path, layer) -> biases.copy(path, layer, copies));
    }
    return biases;
  }

  /** The present biases by the path of their layer. */
  static Map<String, Tensor> present(Map<String, Adaptable> layers) {
    var present = new LinkedHashMap<String, Tensor>();
    layers.forEach((path, layer) -> present.put(path, bias(layer)));
    return present;
  }

  private void copy(String path, Adaptable layer, Map<Long, Tensor> copies) {
    Tensor bias = bias(layer);
    originals.put(path, Scope.own(bias));
    layer.rebaseBias(copies.computeIfAbsent(bias.data_ptr().address(), _ -> bias.detach().clone()));
  }

  /** The bias of a layer that has one, as it was before anything was merged. */
  static Tensor bias(Adaptable layer) {
    @Nullable Tensor bias = layer.adapters().originalBias();
    if (bias == null) {
      throw new IllegalStateException("the layer has lost its bias");
    }
    return bias;
  }

  /** The layers whose biases train, by path. */
  Map<String, Adaptable> layers() {
    return layers;
  }

  /** The trained biases by the path of their layer. */
  Map<String, Tensor> trained() {
    return present(layers);
  }

  void trainable(boolean on) {
    trained()
        .values()
        .forEach(
            bias -> {
              bias.set_requires_grad(on);
              if (!on) {
                bias.mutable_grad().reset();
              }
            });
  }

  /** Puts a saved bias in the place of the present one. */
  void load(String path, Tensor saved) {
    Tensor bias = trained().get(path);
    if (bias != null) {
      try (var _ = new PointerScope()) {
        bias.set_data(bias.new_empty(saved.sizes()).copy_(saved));
      }
    }
  }

  /** Puts the base's own biases back. */
  void restore() {
    originals.forEach((path, bias) -> requireLayer(path).rebaseBias(bias));
  }

  private Adaptable requireLayer(String path) {
    Adaptable layer = layers.get(path);
    if (layer == null) {
      throw new IllegalStateException("no layer " + path);
    }
    return layer;
  }

  @Override
  public void close() {
    originals.values().forEach(Tensor::close);
    originals.clear();
  }
}
