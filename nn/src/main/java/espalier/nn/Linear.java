package espalier.nn;

import static org.bytedeco.pytorch.global.torch.linear;

import java.util.function.BinaryOperator;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** y = x Wᵀ + bias, with W [out, in]. */
public sealed class Linear extends Adaptable permits AttentionProjection, TransposedLinear {

  private final String weightName;
  private final String biasName;
  private Tensor weight; // as stored
  private @Nullable Tensor bias; // [out]

  /**
   * A linear layer over given tensors.
   *
   * @param weight [out, in]
   * @param bias [out], or null
   */
  public Linear(Tensor weight, @Nullable Tensor bias) {
    this("weight", weight, "bias", bias);
  }

  Linear(String weightName, Tensor weight, String biasName, @Nullable Tensor bias) {
    if (weight.dim() != 2) {
      throw new IllegalArgumentException(
          "a linear weight has 2 dimensions but this one has " + weight.dim());
    }
    this.weightName = weightName;
    this.biasName = biasName;
    this.weight = parameter(weightName, weight);
    this.bias = bias == null ? null : parameter(biasName, bias);
  }

  /** A linear layer from a checkpoint; its bias is optional. */
  public static Linear from(Weights weights) {
    return new Linear(weights.get("weight"), weights.find("bias"));
  }

  /** Number of input features; where the layer is split, of those that this rank has. */
  public long in() {
    return weight.size(1);
  }

  /** Number of output features; where the layer is split, of those that this rank has. */
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
    beforeReading();
    return weight;
  }

  @Override
  Tensor presentWeight() {
    return weight;
  }

  @Override
  boolean ownsWeight() {
    return PrivateMemory.isSolelyHeld(weight);
  }

  /** The weight as the checkpoint holds it: [out, in], or [in, out] where {@link #transposed}. */
  public final Tensor storedWeight() {
    beforeReading();
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
    Partition partition = partition();
    return partition == null
        ? local(x, w, b)
        : partition.linear(x, b, (in, bias) -> local(in, w, bias));
  }

  /**
   * The layer's output with something in it that each rank has a part of, before the ranks exchange
   * what they have: so it goes along at no cost.
   *
   * @param x [T, in]
   * @param part from the input and the output as this rank has them to the output with the part in
   *     it, without the layer's bias where the ranks sum
   */
  public final Tensor joined(Tensor x, BinaryOperator<Tensor> part) {
    Partition partition = partition();
    Tensor w = weight();
    return partition == null
        ? part.apply(x, local(x, w, bias))
        : partition.linear(x, bias, (in, b) -> part.apply(in, local(in, w, b)));
  }

  private static Tensor local(Tensor x, Tensor w, @Nullable Tensor b) {
    if (oneRow(x, w)) {
      // A decoded token. libtorch hands one row to a matrix product, which was measured three times
      // slower here than the matrix-vector product, and that reads the weight at full speed.
      Tensor y = w.mv(x.reshape(-1));
      long[] shape = x.shape();
      shape[shape.length - 1] = w.size(0);
      return (b == null ? y : y.add_(b)).view(shape);
    }
    if (FewRows.fit(x, w)) {
      return FewRows.linear(x, w, b);
    }
    if (HalfPrecision.emulated(x) && !w.requires_grad() && x.numel() >= 16 * x.size(-1)) {
      return HalfPrecision.linearWide(x, w, b);
    }
    return b == null ? linear(x, w) : linear(x, w, new TensorOptional(b));
  }

  private static boolean oneRow(Tensor x, Tensor w) {
    return x.numel() == x.size(-1)
        && x.scalar_type().intern() == ScalarType.Float
        && x.is_cpu()
        && !(GradMode.is_enabled() && (x.requires_grad() || w.requires_grad()));
  }

  /** x Wᵀ + bias with another weight in the place of the layer's own; W [out, in]. */
  public final Tensor product(Tensor x, Tensor w) {
    return base(x, w, bias);
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter(weightName, w);
  }

  @Override
  void replaceBias(Tensor b) {
    bias = parameter(biasName, b);
  }
}
