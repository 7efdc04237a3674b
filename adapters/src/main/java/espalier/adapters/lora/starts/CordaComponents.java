package espalier.adapters.lora.starts;

import static org.bytedeco.pytorch.global.torch.dist;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_inv_ex;

import espalier.adapters.NotFiniteException;
import espalier.adapters.calibration.Svd;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * W = U·diag(S)·Vᵀ with the orthonormal directions where W meets the covariance C of its inputs:
 * the decomposition of W·C, with C taken back from the right vectors.
 *
 * @param u [out, k]
 * @param s [k], largest first
 * @param v [in, k]
 */
record CordaComponents(Tensor u, Tensor s, Tensor v) {

  private static final double FIRST_DAMP = 0.01;
  private static final double INVERSE_ERROR = 0.05;
  private static final int DOUBLINGS = 60;

  /**
   * All min(out, in) components.
   *
   * @param weight [out, in], float32
   * @param covariance [in, in], float32
   * @param path for errors
   */
  static CordaComponents of(Tensor weight, Tensor covariance, String path) {
    Tensor one = eye(covariance.size(0));
    double mean = covariance.diag().mean().item_double(); // waits for the device: once a layer
    double damp = FIRST_DAMP;
    for (int i = 0; i < DOUBLINGS; i++) {
      Tensor damped = covariance.add(one, new Scalar(mean * damp));
      Tensor inverse = inverse(damped);
      if (dist(damped.matmul(inverse), one).item_double() < INVERSE_ERROR) {
        Svd svd = Svd.of(weight.matmul(damped));
        return new CordaComponents(svd.u(), svd.s(), svd.vt().matmul(inverse).t());
      }
      damp *= 2;
    }
    throw new NotFiniteException(
        "%s: the covariance of its inputs can not be inverted however it is damped, its mean variance is %s; run the model on more text"
            .formatted(path, mean));
  }

  /** The inverse, or numbers that are none where there is no inverse. */
  private static Tensor inverse(Tensor matrix) {
    try (var answer = linalg_inv_ex(matrix)) {
      return new Tensor(answer.get0());
    }
  }

  /** Some components in a row, copied so that the others can be freed. */
  CordaComponents part(long from, long count) {
    return new CordaComponents(
        u.narrow(1, from, count).clone(),
        s.narrow(0, from, count).clone(),
        v.narrow(1, from, count).clone());
  }
}
