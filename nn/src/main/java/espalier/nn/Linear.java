package espalier.nn;

import static org.bytedeco.pytorch.global.torch.linear;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.jspecify.annotations.Nullable;

/** y = x Wᵀ + bias, with W [out, in]. */
public sealed class Linear extends Adaptable permits TransposedLinear {

  private Tensor weight; // as stored
  private @Nullable Tensor bias; // [out]

  /**
   * A linear layer over given tensors.
   *
   * @param weight [out, in]
   * @param bias [out], or null
   */
  public Linear(Tensor weight, @Nullable Tensor bias) {
    if (weight.dim() != 2) {
      throw new IllegalArgumentException(
          "a linear weight has 2 dimensions but this one has " + weight.dim());
    }
    this.weight = parameter("weight", weight);
    this.bias = bias == null ? null : parameter("bias", bias);
  }

  /** A linear layer from a checkpoint; its bias is optional. */
  public static Linear from(Weights weights) {
    return new Linear(weights.get("weight"), weights.find("bias"));
  }

  /** Number of input features. */
  public long in() {
    return weight.size(1);
  }

  /** Number of output features. */
  public long out() {
    return weight.size(0);
  }

  /** Whether the weight is stored as [in, out], as in GPT-2's Conv1D. */
  public boolean transposed() {
    return false;
  }

  /** The weight, [out, in]. */
  @Override
  public Tensor weight() {
    return weight;
  }

  /** The weight as the checkpoint holds it: [out, in], or [in, out] where {@link #transposed}. */
  public final Tensor storedWeight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public Tensor base(Tensor x) {
    return product(x, weight());
  }

  @Override
  public final Tensor base(Tensor x, Tensor w, @Nullable Tensor b) {
    return b == null ? linear(x, w) : linear(x, w, new TensorOptional(b));
  }

  /** x Wᵀ + bias with another weight in the place of the layer's own; W [out, in]. */
  public final Tensor product(Tensor x, Tensor w) {
    return base(x, w, bias);
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter("weight", w);
  }

  @Override
  void replaceBias(Tensor b) {
    bias = parameter("bias", b);
  }
}
