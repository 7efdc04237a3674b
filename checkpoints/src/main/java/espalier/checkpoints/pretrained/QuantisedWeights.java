package espalier.checkpoints.pretrained;

import espalier.nn.Native;
import espalier.nn.QuantisedWeight;
import espalier.nn.Weights;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint whose matrices are quantised as they are asked for, one at a time, so that the whole
 * model is never there as plain tensors.
 *
 * @param transposed whether the checkpoint stores linear weights as [in, out]
 */
record QuantisedWeights(Weights plain, Quantisation how, boolean transposed) implements Weights {

  @Override
  public @Nullable Tensor find(String key) {
    return plain.find(key);
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    try (var _ = new PointerScope()) {
      Tensor tensor = plain.find(key);
      if (tensor == null) {
        return null;
      }
      QuantisedWeight codes = how.of(transposed ? tensor.t() : tensor);
      Native.pageOut(tensor); // read once and never again, but it would count as held memory
      return codes;
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(key + ": " + e.getMessage(), e);
    }
  }
}
