package espalier.nn;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A matrix in int8 with one scale a row: each value is its code times the row's largest magnitude
 * divided by 127. The handles belong to the scope in which they were made; see {@link Scope#own}.
 *
 * @see <a href="https://arxiv.org/abs/2208.07339">LLM.int8(), section 2.1</a>
 */
public final class Int8Rows {

  private static final double LARGEST = 127;

  private final Tensor codes; // [out, in] int8
  private final Tensor scale; // [out] float32

  private Int8Rows(Tensor codes, Tensor scale) {
    this.codes = codes;
    this.scale = scale;
  }

  /**
   * Quantises a matrix, each value to the nearest code.
   *
   * @param weight [out, in] of any floating dtype, all finite
   */
  public static Int8Rows quantise(Tensor weight) {
    if (weight.dim() != 2) {
      throw new IllegalArgumentException(
          "int8 goes by rows of a matrix but this tensor has %d dimensions; reshape it to 2"
              .formatted(weight.dim()));
    }
    Tensor wide = weight.detach().to(ScalarType.Float);
    Tensor scale = wide.abs().amax(new long[] {1}, false).div(new Scalar(LARGEST));
    // A row of zeros is divided by a tiny number and stays zero.
    Tensor divisor = scale.clamp_min(new Scalar(Float.MIN_NORMAL)).unsqueeze(1);
    return new Int8Rows(wide.div(divisor).round().to(ScalarType.Char), scale);
  }

  /** The codes, [out, in] int8 in [-127, 127]. */
  public Tensor codes() {
    return codes;
  }

  /** What a code of 1 stands for in each row, [out] float32. */
  public Tensor scale() {
    return scale;
  }

  /** The values that the codes stand for, [out, in] float32. */
  public Tensor dequantise() {
    return codes.to(ScalarType.Float).mul(scale.unsqueeze(1));
  }
}
