package espalier.adapters.lora.starts;

import static org.bytedeco.pytorch.global.torch.cholesky_inverse;
import static org.bytedeco.pytorch.global.torch.dist;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_cholesky_ex;

import espalier.adapters.NotFiniteException;
import espalier.nn.Init;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The covariance C of a layer's inputs with so much added to its diagonal that float32 can invert
 * it.
 *
 * @param covariance C', [in, in]
 * @param inverse of C', [in, in]
 */
record DampedCovariance(Tensor covariance, Tensor inverse) {

  private static final double FIRST_DAMP = 0.01;
  private static final double INVERSE_ERROR = 0.05;
  private static final int DOUBLINGS = 60;

  private static final int PROBES = 16;

  /**
   * So many times from the limit, an error that {@link #PROBES} probes saw needs no second look.
   */
  private static final double CLEAR = 3;

  /**
   * Adds the least of 0.01, 0.02, 0.04, ... of the mean variance for which ‖C'·C'⁻¹ - I‖ is below
   * 0.05.
   *
   * @param covariance [in, in], symmetric, float32
   * @param path for errors
   */
  static DampedCovariance of(Tensor covariance, String path) {
    Tensor one = eye(covariance.size(0)).to(covariance);
    double mean = covariance.diag().mean().item_double(); // waits for the device: once a layer
    double damp = FIRST_DAMP;
    for (int i = 0; i < DOUBLINGS; i++) {
      Tensor damped = covariance.add(one, new Scalar(mean * damp));
      Tensor inverse = inverse(damped);
      if (inverse != null && inverts(damped, inverse, one)) {
        return new DampedCovariance(damped, inverse);
      }
      damp *= 2;
    }
    throw new NotFiniteException(
        "%s: the covariance of its inputs can not be inverted however it is damped, its mean variance is %s; run the model on more text"
            .formatted(path, mean));
  }

  /** The inverse of a symmetric matrix, or null if it is not positive definite. */
  private static @Nullable Tensor inverse(Tensor matrix) {
    try (var answer = linalg_cholesky_ex(matrix)) {
      return answer.get1().item_int() == 0 ? cholesky_inverse(answer.get0()) : null;
    }
  }

  /** Mostly a few random vectors tell whether the error is below the limit: ‖R‖² is E‖R·z‖². */
  private static boolean inverts(Tensor matrix, Tensor inverse, Tensor one) {
    Tensor z = Init.shared(0).normal(1, matrix.size(0), PROBES).to(matrix);
    Tensor rest = matrix.matmul(inverse.matmul(z)).sub(z);
    double seen = rest.norm().item_double() / Math.sqrt(PROBES);
    if (seen < INVERSE_ERROR / CLEAR) {
      return true;
    }
    return seen < INVERSE_ERROR * CLEAR
        && dist(matrix.matmul(inverse), one).item_double() < INVERSE_ERROR;
  }
}
