package espalier.adapters.combine;

import static org.bytedeco.pytorch.global.torch.cat;

import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * Two factors of an update on one layer.
 *
 * @param a [g, r / g, in]
 * @param b [g, out / g, r / g]
 */
record Factors(Tensor a, Tensor b) {

  /** The same update with rows and columns of zeros up to a rank; never fewer than there are. */
  Factors padded(long rank) {
    long missing = rank - a.size(1);
    if (missing <= 0) {
      return this;
    }
    Tensor rows = a.new_zeros(a.size(0), missing, a.size(2));
    Tensor columns = b.new_zeros(b.size(0), b.size(1), missing);
    return new Factors(join(1, a, rows), join(2, b, columns));
  }

  static Tensor join(long dimension, Tensor... tensors) {
    return cat(new TensorVector(tensors), dimension);
  }

  static Tensor join(long dimension, List<Tensor> tensors) {
    return join(dimension, tensors.toArray(Tensor[]::new));
  }
}
