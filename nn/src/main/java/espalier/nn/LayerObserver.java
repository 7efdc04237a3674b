package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/** Sees what goes through one layer while it {@linkplain Adaptable#observe observes} it. */
@FunctionalInterface
public interface LayerObserver {

  /**
   * Sees one call of the layer.
   *
   * @param x the layer's input, [..., in]
   * @param y its output with the adapters in force, [..., out]
   * @return the output that goes on: {@code y} itself, or the same numbers with another graph
   */
  Tensor seen(Tensor x, Tensor y);
}
