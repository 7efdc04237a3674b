package espalier.adapters.calibration;

import espalier.nn.Adaptable;
import espalier.nn.FreeMemory;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The gradients of some layers of a model, averaged over calibration batches and handed out one by
 * one, for a method that starts from them before its adapter is attached.
 *
 * <p>The gradients of all layers may be as large as the model in float32. If they exceed the memory
 * that the options allow, the layers are taken in groups and the batches are run once a group; each
 * gradient is freed as soon as it was looked at.
 */
public final class AveragedGradients {

  private final String method;
  private final Layer model;
  private final CalibrationOptions options;

  /**
   * Gets ready.
   *
   * @param method what the progress is told under
   */
  public AveragedGradients(String method, Layer model, CalibrationOptions options) {
    this.method = method;
    this.model = model;
    this.options = options;
  }

  /** Looks at the gradient of one layer. */
  @FunctionalInterface
  public interface Look {
    /**
     * Called once a layer, without autograd and within a scope of its own.
     *
     * @param gradient in the shape of the layer's weight, float32; it lives no longer than the call
     */
    void at(String path, Adaptable layer, Tensor gradient);
  }

  /**
   * Runs the batches and shows the gradient of each layer. The model's weights stay frozen, its
   * adapters are off and it is in evaluation mode meanwhile, so there is no dropout.
   *
   * @param layers linear layers and convolutions by path
   * @param batches runs forward and backward of the loss, summed over its tokens, of each
   *     calibration batch, and returns the number of these tokens; called once a group of layers
   * @throws IllegalStateException if a layer got no gradient, or there were no tokens
   */
  public void look(Map<String, ? extends Adaptable> layers, LongSupplier batches, Look look) {
    List<Map<String, Adaptable>> groups = groups(layers);
    boolean training = model.training();
    var adaptables = new ArrayList<Adaptable>();
    model.walk(
        (_, layer) -> {
          if (layer instanceof Adaptable adaptable) {
            adaptables.add(adaptable);
          }
        });
    adaptables.forEach(layer -> layer.adapters().disable());
    try {
      model.train(false);
      for (int i = 0; i < groups.size(); i++) {
        String which = groups.size() == 1 ? "" : ", group %d of %d".formatted(i + 1, groups.size());
        options
            .progress()
            .accept(
                "%s: averaging the gradients of %d layers%s"
                    .formatted(method, groups.get(i).size(), which));
        group(groups.get(i), batches, look);
      }
    } finally {
      model.train(training);
      adaptables.forEach(layer -> layer.adapters().enable());
    }
  }

  /** The layers in order, as many together as the memory allows and one at least. */
  private List<Map<String, Adaptable>> groups(Map<String, ? extends Adaptable> layers) {
    long allowed = options.memory() > 0 ? options.memory() : FreeMemory.bytes() / 4;
    var groups = new ArrayList<Map<String, Adaptable>>();
    long used = 0;
    for (Map.Entry<String, ? extends Adaptable> target : layers.entrySet()) {
      long bytes = Float.BYTES * elements(target.getValue());
      if (groups.isEmpty() || used + bytes > allowed) {
        groups.add(new LinkedHashMap<>());
        used = 0;
      }
      groups.getLast().put(target.getKey(), target.getValue());
      used += bytes;
    }
    return groups;
  }

  private static long elements(Adaptable layer) {
    try (var _ = new PointerScope()) {
      return layer.originalWeight().numel();
    }
  }

  private void group(Map<String, Adaptable> group, LongSupplier batches, Look look) {
    try (var gradients = new WeightGradients(group)) {
      long tokens;
      try (var _ = new AutoGradMode(true)) {
        tokens = batches.getAsLong();
      }
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        Tensor all = torch.tensor((double) tokens);
        options.ranks().sum(all);
        double divisor = all.item_double();
        if (!(divisor > 0)) {
          throw new IllegalStateException(
              "the calibration batches have no tokens to learn from; give examples with an answer");
        }
        group.forEach((path, layer) -> show(path, layer, gradients, divisor, look));
      }
    }
  }

  private void show(
      String path, Adaptable layer, WeightGradients gradients, double tokens, Look look) {
    try (Tensor gradient = gradients.take(path);
        var _ = new PointerScope()) {
      options.ranks().sum(gradient);
      gradient.div_(new Scalar(tokens));
      look.at(path, layer, gradient);
    }
  }
}
