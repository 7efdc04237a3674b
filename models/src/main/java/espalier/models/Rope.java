package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.pow;
import static org.bytedeco.pytorch.global.torch.where;

import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Rotary positions: pairs of a head's entries turn by position times frequency.
 *
 * <p>Frequencies are computed in float32 in the reference's order of operations: at position 100
 * 000 a last bit of a frequency is a hundredth of a radian.
 *
 * @param theta base of the frequencies
 * @param dim entries of a head, all of them rotated
 * @param maxPositions length from which on {@link RopeScaling.Dynamic} acts
 * @see <a href="https://arxiv.org/abs/2104.09864">RoFormer</a>
 */
record Rope(double theta, int dim, RopeScaling scaling, int maxPositions) {

  /** Whether the frequencies depend on the length of the text. */
  boolean dynamic() {
    return scaling instanceof RopeScaling.Dynamic;
  }

  /** Factor on cos and sin. */
  double attentionFactor() {
    return scaling instanceof RopeScaling.Yarn yarn ? yarn.attention() : 1;
  }

  /**
   * The frequencies, [dim / 2] float32, in radians a token.
   *
   * @param length tokens of the text, 1 + its largest position
   */
  Tensor frequencies(long length, Device device) {
    return switch (scaling) {
      case RopeScaling.None() -> inverse(theta, device);
      case RopeScaling.Linear(var factor) -> inverse(theta, device).div_(new Scalar(factor));
      case RopeScaling.Dynamic(var factor) -> inverse(grown(factor, length), device);
      case RopeScaling.Llama3 llama -> stretched(llama, inverse(theta, device));
      case RopeScaling.Yarn yarn -> interpolated(yarn, device);
    };
  }

  private Tensor powers(double base, Device device) {
    var options = new TensorOptions(ScalarType.Float).device(new DeviceOptional(device));
    Tensor exponent =
        arange(new Scalar(0), new Scalar(dim), new Scalar(2), options).div_(new Scalar(dim));
    return pow(new Scalar(base), exponent);
  }

  private Tensor inverse(double base, Device device) {
    return powers(base, device).reciprocal_();
  }

  private double grown(double factor, long length) {
    double reach = Math.max(length, maxPositions);
    return theta * Math.pow(factor * reach / maxPositions - (factor - 1), (double) dim / (dim - 2));
  }

  private static Tensor stretched(RopeScaling.Llama3 s, Tensor inverse) {
    Tensor wave = inverse.reciprocal().mul_(new Scalar(2 * Math.PI));
    Tensor isLong = wave.gt(new Scalar(s.original() / s.lowFrequency()));
    Tensor isShort = wave.lt(new Scalar(s.original() / s.highFrequency()));
    Tensor base = where(isLong, inverse.div(new Scalar(s.factor())), inverse);
    Tensor smooth =
        wave.reciprocal()
            .mul_(new Scalar(s.original()))
            .sub_(new Scalar(s.lowFrequency()))
            .div_(new Scalar(s.highFrequency() - s.lowFrequency()));
    Tensor between =
        oneMinus(smooth).mul_(base).div_(new Scalar(s.factor())).add_(smooth.mul(base));
    return where(isLong.logical_or(isShort), base, between);
  }

  private Tensor interpolated(RopeScaling.Yarn s, Device device) {
    Tensor powers = powers(theta, device);
    double low = correction(s.fast(), s.original());
    double high = correction(s.slow(), s.original());
    if (s.truncated()) {
      low = Math.floor(low);
      high = Math.ceil(high);
    }
    low = Math.max(low, 0);
    high = Math.min(high, dim - 1);
    if (low == high) {
      high += 0.001; // the reference's guard against a division by zero
    }
    Tensor ramp =
        arange(new Scalar(dim / 2), powers.options())
            .sub_(new Scalar(low))
            .div_(new Scalar(high - low))
            .clamp_(new ScalarOptional(new Scalar(0)), new ScalarOptional(new Scalar(1)));
    Tensor keep = oneMinus(ramp);
    Tensor kept = powers.reciprocal().mul_(keep);
    Tensor divided = powers.mul_(new Scalar(s.factor())).reciprocal_().mul_(oneMinus(keep));
    return divided.add_(kept);
  }

  /** The dimension whose wave makes so many rotations over the pretraining's length. */
  private double correction(double rotations, double original) {
    return dim * Math.log(original / (rotations * 2 * Math.PI)) / (2 * Math.log(theta));
  }

  private static Tensor oneMinus(Tensor t) {
    return t.neg().add_(new Scalar(1));
  }
}
