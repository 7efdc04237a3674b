package espalier.nn;

import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** GPT-2's Conv1D: a linear layer whose weight is stored as [in, out]. */
public final class TransposedLinear extends Linear {

  /**
   * A linear layer over given tensors.
   *
   * @param weight [in, out]
   * @param bias [out], or null
   */
  public TransposedLinear(Tensor weight, @Nullable Tensor bias) {
    super(weight, bias);
  }

  /** A layer over a quantised weight [out, in], which is closed with it. */
  public TransposedLinear(QuantisedWeight weight, @Nullable Tensor bias) {
    super(weight, bias);
  }

  /** A layer from a checkpoint; its bias is optional. */
  public static TransposedLinear from(Weights weights) {
    return new TransposedLinear(weights.get("weight"), weights.find("bias"));
  }

  @Override
  public String typeName() {
    return "Conv1D";
  }

  @Override
  public boolean transposed() {
    return true;
  }

  @Override
  Tensor laidOut(Tensor slice) {
    return slice.t().contiguous().t();
  }
}
