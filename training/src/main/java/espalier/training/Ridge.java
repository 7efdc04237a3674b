package espalier.training;

import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_pinv;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** The inverse of a Gram matrix that may be singular. */
final class Ridge {

  private Ridge() {}

  /**
   * (G + ridge·I)⁻¹, or the pseudo-inverse where rounding leaves none.
   *
   * @param gram G [..., r, r]
   */
  static Tensor inverse(Tensor gram, double ridge) {
    return linalg_pinv(gram.add(eye(gram.size(-1), gram.options()), new Scalar(ridge)));
  }
}
