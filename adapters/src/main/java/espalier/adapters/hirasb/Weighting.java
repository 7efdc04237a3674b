package espalier.adapters.hirasb;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A frozen weight and the rank-one model of its squares, W² ≈ u vᵀ / t, with u the sums of the
 * rows, v those of the columns and t that of all. A row or column of less than 1e-4 of the mean sum
 * counts as that much, so that none is amplified by more than 100.
 *
 * @param w the weight, or ones for an additive update [m, n]
 * @param rows √(u / √t), the root of D_u [m, 1]
 * @param columns √(v / √t), the root of D_v [1, n]
 */
public record Weighting(Tensor w, Tensor rows, Tensor columns) {

  /** The least that a row or column counts, relative to the mean of all. */
  public static final double FLOOR = 1e-4;

  /**
   * The weighting of a weight.
   *
   * @param w [m, n], float32 or float64, not all zero
   */
  public static Weighting of(Tensor w) {
    Tensor squares = w.square();
    double total = squares.sum(new ScalarTypeOptional(ScalarType.Double)).item_double();
    return new Weighting(w, root(squares, 1, total), root(squares, 0, total));
  }

  private static Tensor root(Tensor squares, long over, double total) {
    Tensor sums = squares.sum(new long[] {over}, true, new ScalarTypeOptional(ScalarType.Double));
    return sums.clamp_min(new Scalar(FLOOR * sums.mean().item_double()))
        .div_(new Scalar(Math.sqrt(total)))
        .sqrt_()
        .to(squares.scalar_type().intern());
  }
}
