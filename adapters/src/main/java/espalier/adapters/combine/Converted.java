package espalier.adapters.combine;

import espalier.adapters.AdapterContents;
import espalier.adapters.lora.LoraConfig;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * An adapter of any method as plain LoRA for the untouched base.
 *
 * @param config its config
 * @param tensors its tensors by their key in the file; they belong to the scope that was open
 * @param layers how each layer came out, by path
 * @param warnings what the user should know, sentences
 */
public record Converted(
    LoraConfig config,
    Map<String, Tensor> tensors,
    Map<String, Fit> layers,
    List<String> warnings) {

  /**
   * How LoRA stands for the update of one layer.
   *
   * @param rank the rank
   * @param error distance from the update, relative to it, in the Frobenius norm; 0 for an update
   *     that is zero
   */
  public record Fit(int rank, double error) {}

  /** Copies the collections. */
  public Converted {
    tensors = Collections.unmodifiableMap(new LinkedHashMap<>(tensors));
    layers = Collections.unmodifiableMap(new LinkedHashMap<>(layers));
    warnings = List.copyOf(warnings);
  }

  /** The largest error of a layer. */
  public double largestError() {
    return layers.values().stream().mapToDouble(Fit::error).max().orElse(0);
  }

  /** What a folder of it consists of. */
  public AdapterContents contents() {
    return new AdapterContents(config, tensors);
  }
}
