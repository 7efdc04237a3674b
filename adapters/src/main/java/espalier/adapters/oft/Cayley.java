package espalier.adapters.oft;

import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_solve;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The Cayley transform, from a skew-symmetric Q to a rotation (I - Q)(I + Q)⁻¹, or its series I +
 * 2Q + 2Q² + ..., which is cheaper and a rotation only nearly.
 *
 * @param neumann whether the series is used; it is that of -Q
 * @param terms number of its terms
 */
public record Cayley(boolean neumann, int terms) {

  /**
   * Rotations, as autograd sees them.
   *
   * @param q [blocks, n, n]
   * @return [blocks, n, n]
   */
  Tensor of(Tensor q) {
    Tensor one = eye(q.size(1)).to(q.device(), q.dtype()).expand_as(q);
    if (!neumann) {
      return linalg_solve(one.add(q), one.sub(q), false);
    }
    if (terms < 2) {
      return one;
    }
    var two = new Scalar(2.0);
    Tensor sum = one.add(q, two);
    if (terms == 2) {
      return sum;
    }
    Tensor power = q.bmm(q);
    sum = sum.add(power, two);
    for (int i = 3; i < terms - 1; i++) {
      power = power.bmm(q);
      sum = sum.add(power, two);
    }
    return sum.add(power.bmm(q)); // the last term counts once
  }
}
