package espalier.adapters;

import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * What a saved adapter consists of. Tensors that belong to layers stay theirs; others belong to the
 * scope in which they were made.
 *
 * @param config its settings
 * @param tensors by their key in its file
 * @param initial first values that must lie beside the tensors because loading could not work them
 *     out again, by the same keys; empty in the normal case
 * @param base what the weights were from which the start took something, by the path of their
 *     layer; empty in the normal case
 */
public record AdapterContents(
    AdapterConfig config,
    Map<String, Tensor> tensors,
    Map<String, Tensor> initial,
    Map<String, WeightSketch> base) {

  /** Contents that are whole by themselves. */
  public AdapterContents(AdapterConfig config, Map<String, Tensor> tensors) {
    this(config, tensors, Map.of(), Map.of());
  }
}
