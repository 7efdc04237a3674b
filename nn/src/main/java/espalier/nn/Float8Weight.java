package espalier.nn;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A weight whose values are floats of 8 bits without scales. libtorch stores them but computes
 * nothing in them, so they are widened where they are used, which every other dtype holds exactly.
 *
 * @see <a href="https://arxiv.org/abs/2209.05433">FP8 Formats for Deep Learning</a>
 */
public final class Float8Weight extends BlockedWeight {

  private final Tensor values; // [out, in]

  private Float8Weight(Tensor values, ScalarType dtype) {
    super(values.size(0), values.size(1), dtype, 1);
    this.values = Scope.own(values);
  }

  /** Whether a tensor is of a dtype that this form holds: float8_e4m3fn or float8_e5m2. */
  public static boolean holds(Tensor tensor) {
    return switch (tensor.scalar_type().intern()) {
      case Float8_e4m3fn, Float8_e5m2 -> true;
      default -> false;
    };
  }

  /**
   * A weight that is stored so already; nothing is copied where it is contiguous.
   *
   * @param weight [out, in], float8_e4m3fn or float8_e5m2
   * @param dtype of products with the result
   * @throws IllegalArgumentException if it is of another dtype
   */
  public static Float8Weight of(Tensor weight, ScalarType dtype) {
    requireMatrix(weight);
    if (!holds(weight)) {
      throw new IllegalArgumentException(
          "the weight is %s but must be float8_e4m3fn or float8_e5m2; round it with quantise"
              .formatted(weight.scalar_type().intern()));
    }
    return new Float8Weight(weight.detach().contiguous(), dtype.intern());
  }

  /**
   * Rounds a weight; what lies beyond the finite range becomes its end.
   *
   * @param weight [out, in] of a dtype that libtorch computes in
   * @param form float8_e4m3fn or float8_e5m2
   * @param dtype of products with the result
   */
  public static Float8Weight quantise(Tensor weight, ScalarType form, ScalarType dtype) {
    return of(rounded(weight.detach(), form), dtype);
  }

  /** The nearest values of a float of 8 bits, in its finite range. */
  static Tensor rounded(Tensor tensor, ScalarType form) {
    double largest = form.intern() == ScalarType.Float8_e5m2 ? 57344 : 448;
    return tensor
        .clamp(new ScalarOptional(new Scalar(-largest)), new ScalarOptional(new Scalar(largest)))
        .to(form.intern());
  }

  @Override
  public String format() {
    return values.scalar_type().intern() == ScalarType.Float8_e5m2
        ? "float8_e5m2"
        : "float8_e4m3fn";
  }

  @Override
  public long bytes() {
    return values.nbytes();
  }

  @Override
  Tensor stored() {
    return values;
  }

  @Override
  void decodeBlocks(long from, Tensor to) {
    to.copy_(values.view(-1).narrow(0, from, to.numel()));
  }

  @Override
  public QuantisedWeight requantised(Tensor weight) {
    return quantise(weight, values.scalar_type(), dtype());
  }

  @Override
  public QuantisedWeight withDtype(ScalarType dtype) {
    return new Float8Weight(values, dtype.intern());
  }

  @Override
  public void close() {
    values.close();
  }
}
