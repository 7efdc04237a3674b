package espalier.adapters.combine;

import espalier.adapters.AdapterContents;
import espalier.adapters.lora.LoraConfig;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * A combination as a folder would have it.
 *
 * @param config its config
 * @param tensors its tensors by their key in the file; they belong to the scope that was open
 * @param report how it came out
 */
public record Combined(LoraConfig config, Map<String, Tensor> tensors, CombinationReport report) {

  /** Copies the map. */
  public Combined {
    tensors = Collections.unmodifiableMap(new LinkedHashMap<>(tensors));
  }

  /** What a folder of it consists of. */
  public AdapterContents contents() {
    return new AdapterContents(config, tensors);
  }
}
