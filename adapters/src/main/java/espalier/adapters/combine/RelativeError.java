package espalier.adapters.combine;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How far an update is from the exact weighted sum of the sources' updates, in the Frobenius norm
 * and relative to the sum. Computed from the factors, in float64, without forming an update.
 */
final class RelativeError {

  /** Below this part of the sources' norms a number is the rounding of float32. */
  private static final double ROUNDING = 1e-6;

  private RelativeError() {}

  static double of(Factors result, List<Share> shares) {
    List<Tensor> a = new ArrayList<>();
    List<Tensor> b = new ArrayList<>();
    double sizes = 0;
    for (Share share : shares) {
      Tensor scaled = exact(share.a()).mul(new Scalar(-share.total()));
      Tensor other = exact(share.b());
      sizes += norm(other, scaled);
      a.add(scaled);
      b.add(other);
    }
    double sum = norm(Factors.join(2, b), Factors.join(1, a));
    a.add(exact(result.a()));
    b.add(exact(result.b()));
    double difference = norm(Factors.join(2, b), Factors.join(1, a));
    if (sum > ROUNDING * sizes) {
      return difference / sum;
    }
    return difference <= ROUNDING * sizes ? 0 : Double.POSITIVE_INFINITY;
  }

  private static Tensor exact(Tensor tensor) {
    return tensor.to(ScalarType.Double);
  }

  /** ‖B·A‖, as ‖B·A‖² = tr(BᵀB·AAᵀ). */
  private static double norm(Tensor b, Tensor a) {
    Tensor square = b.transpose(1, 2).matmul(b).mul_(a.matmul(a.transpose(1, 2))).sum();
    return Math.sqrt(Math.max(0, square.item_double())); // waits for the device: thrice a layer
  }
}
