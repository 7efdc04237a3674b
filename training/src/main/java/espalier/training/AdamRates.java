package espalier.training;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * How fast Adam forgets, and what keeps it from dividing by zero.
 *
 * @param beta1 memory of the first moment, in [0, 1)
 * @param beta2 memory of the second moment, in [0, 1)
 * @param epsilon added to the root of the second moment, above or equal 0
 */
public record AdamRates(double beta1, double beta2, double epsilon) {

  /** β = (0.9, 0.999) and ε = 1e-8. */
  public static final AdamRates USUAL = new AdamRates(0.9, 0.999, 1e-8);

  /** Checks the ranges. */
  public AdamRates {
    if (!(beta1 >= 0 && beta1 < 1) || !(beta2 >= 0 && beta2 < 1)) {
      throw new IllegalArgumentException(
          "betas are (%s, %s) but must lie in [0, 1); (0.9, 0.999) is usual"
              .formatted(beta1, beta2));
    }
    if (!(epsilon >= 0 && Double.isFinite(epsilon))) {
      throw new IllegalArgumentException(
          "eps is %s but must be finite and not negative; 1e-8 is usual".formatted(epsilon));
    }
  }

  /** Takes a gradient into both moments, in place. */
  void take(Tensor g, Tensor m, Tensor v) {
    m.lerp_(g, new Scalar(1 - beta1));
    v.mul_(new Scalar(beta2)).addcmul_(g, g, new Scalar(1 - beta2));
  }
}
