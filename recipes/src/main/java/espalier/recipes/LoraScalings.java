package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.adapters.lora.LoraConvolution;
import espalier.adapters.lora.LoraLinear;
import espalier.nn.Adapter;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/**
 * The factor on B·A of each layer that one adapter is on, by the key of B in the adapter's file.
 *
 * @param layers by path
 */
public record LoraScalings(Map<String, Adapter> layers) implements ToDoubleFunction<String> {

  private static final String PREFIX = "base_model.model.";
  private static final String SUFFIX = ".lora_B.weight";

  /** Of the adapter called {@code name}. */
  public static LoraScalings of(Adapters adapters, String name) {
    return new LoraScalings(adapters.on(name));
  }

  /**
   * The factor of one layer.
   *
   * @throws IllegalArgumentException if B is not LoRA's on a linear layer or a convolution
   */
  @Override
  public double applyAsDouble(String keyOfB) {
    String path = keyOfB.substring(PREFIX.length(), keyOfB.length() - SUFFIX.length());
    return switch (layers.get(path)) {
      case LoraLinear linear -> linear.scaling();
      case LoraConvolution convolution -> convolution.scaling();
      case null, default ->
          throw new IllegalArgumentException(
              "LoRA-FA knows LoRA on linear layers and convolutions but %s is of another kind; leave it out of the targets, or choose adamw"
                  .formatted(path));
    };
  }
}
