package espalier.nn;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A matrix [out, in] of which only codes and their scales are held. Whoever needs values decodes
 * some rows at a time and drops them; a {@link Linear} does so in forward and in backward.
 */
public interface QuantisedWeight extends AutoCloseable {

  /** What the field calls this form, such as {@code nf4} or {@code Q4_K}. */
  String format();

  /** Number of output features: rows. */
  long out();

  /** Number of input features: columns. */
  long in();

  /** The dtype that products with this weight are computed in. */
  ScalarType dtype();

  /** What the codes are known by: equal for weights that share them. */
  Object identity();

  /** Bytes that codes and scales take. */
  long bytes();

  /**
   * Decodes rows.
   *
   * @param from the first row
   * @param to [rows, in] of any floating dtype, written to; contiguous
   */
  void decode(long from, Tensor to);

  /**
   * Another weight in the same form with the same settings, or null if new values can not be
   * written in this form.
   *
   * @param weight [out, in] of any floating dtype, all finite
   */
  @Nullable QuantisedWeight requantised(Tensor weight);

  /** Whether {@link #requantised} gives a weight. */
  boolean writable();

  /** The same codes for another dtype of products. The codes have one more owner. */
  QuantisedWeight withDtype(ScalarType dtype);

  /** Rows in the dtype of products, [length, in]; a fresh tensor. */
  default Tensor rows(long from, long length) {
    return rows(from, length, dtype());
  }

  /** Rows [length, in] in a floating dtype; a fresh tensor. */
  Tensor rows(long from, long length, ScalarType dtype);

  /** Lets go of the codes, which live on as long as somebody else owns them. */
  @Override
  void close();
}
