package espalier.adapters.combine;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigException;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * An adapter as its folder has it, and how much of it is wanted.
 *
 * @param name what messages call it
 * @param config its config
 * @param tensors its tensors by their key in the file; they stay the caller's
 * @param weight factor on its update, also negative or 0
 */
public record WeightedAdapter(
    String name, AdapterConfig config, Map<String, Tensor> tensors, double weight) {

  /** Copies the map and checks the weight. */
  public WeightedAdapter {
    tensors = Collections.unmodifiableMap(new LinkedHashMap<>(tensors));
    if (!Double.isFinite(weight)) {
      throw new ConfigException(
          "the weight of %s is %s but a finite number is needed; 1 is the adapter as it is"
              .formatted(name, weight));
    }
  }
}
