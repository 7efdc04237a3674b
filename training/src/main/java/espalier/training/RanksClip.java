package espalier.training;

import espalier.nn.Collective;
import java.util.Map;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Clips gradients by their norm where several ranks compute the model: parts of all ranks count,
 * and what each rank has whole counts once.
 */
final class RanksClip {

  /** What libtorch adds to the norm before it divides by it. */
  private static final double EPSILON = 1e-6;

  private RanksClip() {}

  /**
   * Multiplies the gradients of all ranks by the same factor. All ranks must call it.
   *
   * @param parameters this rank's, by name
   * @param split the names of those of which each rank has a part
   * @param bound the norm that they are clipped to; 0 changes nothing
   * @return the norm before, the same bits on each rank
   */
  static double clip(
      Map<String, Tensor> parameters, Set<String> split, Collective ranks, double bound) {
    double here = 0;
    for (var each : parameters.entrySet()) {
      // Rank 0 alone brings what all have, so that every rank is told one and the same number.
      if (ranks.rank() == 0 || split.contains(each.getKey())) {
        here += squares(each.getValue());
      }
    }
    double norm = Math.sqrt(ranks.sum(here));
    double factor = bound / (norm + EPSILON);
    if (bound > 0 && factor < 1) {
      scale(parameters, factor);
    }
    return norm;
  }

  private static double squares(Tensor parameter) {
    try (var _ = new PointerScope()) {
      Tensor g = parameter.grad();
      return g.defined() ? g.to(ScalarType.Double).square().sum().item_double() : 0;
    }
  }

  private static void scale(Map<String, Tensor> parameters, double factor) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      for (Tensor p : parameters.values()) {
        Tensor g = p.grad();
        if (g.defined()) {
          g.mul_(new Scalar(factor));
        }
      }
    }
  }
}
