package espalier.nn;

import static org.bytedeco.pytorch.global.torch.layer_norm;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.jspecify.annotations.Nullable;

/** Layer normalisation over the last dimension. */
public final class LayerNorm extends Adaptable {

  private Tensor weight; // [D]
  private @Nullable Tensor bias; // [D]
  private final double epsilon;

  /** A norm over given tensors; weight [D], bias [D] or null. */
  public LayerNorm(Tensor weight, @Nullable Tensor bias, double epsilon) {
    this.weight = parameter("weight", weight);
    this.bias = bias == null ? null : parameter("bias", bias);
    this.epsilon = epsilon;
  }

  /** A norm from a checkpoint; its bias is optional. */
  public static LayerNorm from(Weights weights, double epsilon) {
    return new LayerNorm(weights.get("weight"), weights.find("bias"), epsilon);
  }

  @Override
  public Tensor weight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public Tensor base(Tensor x) {
    return base(x, weight, bias);
  }

  @Override
  public Tensor base(Tensor x, Tensor w, @Nullable Tensor b) {
    return layer_norm(
        x,
        new long[] {w.size(0)},
        new TensorOptional(w),
        b == null ? new TensorOptional() : new TensorOptional(b),
        epsilon,
        true);
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
