package espalier.adapters.hira;

import espalier.nn.HalfPrecision;
import espalier.nn.Scope;
import espalier.nn.WeightMultiplier;
import java.util.function.BinaryOperator;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The modulation of a merged adapter as it was when it was merged, by copies of its factors.
 *
 * @param a a factor with the scale in it, float32 or wider
 * @param b the other factor, float32 or wider
 * @param form makes the modulation of both, in the shape of the layer's weight
 */
record KeptModulation(Tensor a, Tensor b, BinaryOperator<Tensor> form) implements WeightMultiplier {

  static KeptModulation of(Tensor a, Tensor b, double scale, BinaryOperator<Tensor> form) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor scaled = HalfPrecision.widened(a).mul(new Scalar(scale));
      return new KeptModulation(
          Scope.own(scaled), Scope.own(HalfPrecision.widened(b).clone()), form);
    }
  }

  @Override
  public Tensor lessOne() {
    return form.apply(a, b);
  }

  @Override
  public void close() {
    a.close();
    b.close();
  }
}
