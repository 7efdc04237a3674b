package espalier.adapters;

import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.outer;

import espalier.nn.Adaptable;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A few numbers by which a weight is known again, also after it was cast: its norm, and its product
 * with some fixed vectors on both sides. A change of the weight moves them by about its own norm,
 * so that a checksum of bytes is not needed, which would not survive another dtype.
 *
 * @param dtype of the weight, such as {@code Float}
 * @param values the norm and then the products
 */
public record WeightSketch(String dtype, List<Double> values) {

  private static final int PRODUCTS = 4;

  // Sums in another order, on another device, differ by some 1e-6; rounding to bfloat16 moves a
  // product by some 1e-3 of the norm, while the eight largest of 4096 equal singular values are
  // 4e-2
  // of it.
  private static final double SAME_DTYPE = 1e-4;
  private static final double OTHER_DTYPE = 1e-2;

  /** Copies the list. */
  public WeightSketch {
    values = List.copyOf(values);
  }

  /** The sketch of a layer's weight as it was before anything was merged. */
  public static WeightSketch of(Adaptable layer) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor weight = layer.originalWeight();
      Tensor matrix = weight.to(ScalarType.Float).flatten(1, -1); // [out, in]
      var values = new ArrayList<Double>();
      values.add(matrix.norm().item_double());
      Tensor products = waves(matrix, 0).t().matmul(matrix.matmul(waves(matrix, 1)));
      for (int k = 0; k < PRODUCTS; k++) {
        values.add(products.select(0, k).select(0, k).item_double());
      }
      return new WeightSketch(layer.dtype().name(), values);
    }
  }

  // Waves whose frequency grows along the axis: as good as random ones, and the same everywhere.
  private static Tensor waves(Tensor matrix, long axis) {
    var wide = new TensorOptions(ScalarType.Double);
    Tensor at = arange(new Scalar(matrix.size(axis)), wide).add(new Scalar(1.0 + axis));
    Tensor rates = arange(new Scalar(PRODUCTS), wide).add(new Scalar(1.0)).sqrt();
    Tensor waves = outer(at.square(), rates).cos().mul(new Scalar(Math.sqrt(2)));
    return waves.to(matrix.device(), ScalarType.Float);
  }

  /** Whether both are of one weight, in whatever dtypes. */
  public boolean matches(WeightSketch other) {
    if (values.size() != other.values.size() || values.isEmpty()) {
      return false;
    }
    double bound = dtype.equals(other.dtype) ? SAME_DTYPE : OTHER_DTYPE;
    double norm = Math.max(Math.abs(values.getFirst()), Double.MIN_NORMAL);
    for (int i = 0; i < values.size(); i++) {
      if (!(Math.abs(values.get(i) - other.values.get(i)) <= bound * norm)) { // also not a number
        return false;
      }
    }
    return true;
  }
}
