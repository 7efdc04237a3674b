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

  /** A layer from a checkpoint; its bias is optional. */
  public static TransposedLinear from(Weights weights) {
    return new TransposedLinear(weights.get("weight"), weights.find("bias"));
  }

  @Override
  public String typeName() {
    return "Conv1D";
  }

  @Override
  public long in() {
    return super.out();
  }

  @Override
  public long out() {
    return super.in();
  }

  @Override
  public boolean transposed() {
    return true;
  }

  /** The weight, [out, in]: a view of what is stored. */
  @Override
  public Tensor weight() {
    return storedWeight().t();
  }

  @Override
  Tensor presentWeight() {
    return super.presentWeight().t();
  }

  @Override
  Tensor laidOut(Tensor slice) {
    return slice.t().contiguous().t();
  }

  @Override
  void replaceWeight(Tensor w) {
    super.replaceWeight(w.t());
  }
}
