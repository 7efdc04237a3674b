package espalier.adapters.combine;

import static org.bytedeco.pytorch.global.torch.where;

import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Sums of tensors of one shape. */
final class TaskArithmetic {

  private TaskArithmetic() {}

  /** Σ cᵢ Tᵢ. */
  static Tensor sum(List<Tensor> tensors, double[] factors) {
    Tensor total = tensors.getFirst().mul(new Scalar(factors[0]));
    for (int i = 1; i < factors.length; i++) {
      total.add_(tensors.get(i), new Scalar(factors[i]));
    }
    return total;
  }

  /**
   * The mean, at each position, of cᵢ Tᵢ over those whose sign was elected there; the election is
   * by the tensors without their factors.
   */
  static Tensor elected(List<Tensor> tensors, double[] factors, MajoritySign method) {
    Tensor votes = tensors.getFirst().new_zeros(tensors.getFirst().sizes());
    for (Tensor tensor : tensors) {
      votes.add_(method == MajoritySign.TOTAL ? tensor : tensor.sign());
    }
    Tensor plus = votes.ge(zero());
    Tensor total = votes.zero_();
    Tensor voters = total.clone();
    for (int i = 0; i < factors.length; i++) {
      Tensor tensor = tensors.get(i);
      Tensor agrees = where(plus, tensor.gt(zero()), tensor.lt(zero()));
      total.add_(tensor.mul(agrees), new Scalar(factors[i]));
      voters.add_(agrees);
    }
    return total.div_(voters.clamp_min_(new Scalar(1)));
  }

  private static Scalar zero() {
    return new Scalar(0);
  }
}
