package espalier.nn;

import static org.bytedeco.pytorch.global.torch.addmm_out;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.mm_out;

import java.util.Objects;
import java.util.function.BinaryOperator;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * y = x Wᵀ + bias, with W [out, in]. The weight is a tensor, or {@linkplain QuantisedWeight codes}
 * that are decoded wherever values are needed; either can take the place of the other.
 */
public sealed class Linear extends Adaptable permits AttentionProjection, TransposedLinear {

  private final String weightName;
  private final String biasName;
  private @Nullable Tensor weight; // as the checkpoint has it; null while codes stand for it
  private @Nullable QuantisedWeight codes; // [out, in]
  private @Nullable Tensor bias; // [out]
  private final PackedWeight packed = new PackedWeight();

  /**
   * A linear layer over given tensors. A weight in float8 is widened wherever it is used, to the
   * dtype of the bias or else to float32.
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
    if (Float8Weight.holds(weight)) {
      this.codes =
          Float8Weight.of(
              logical(weight), bias == null ? ScalarType.Float : bias.scalar_type().intern());
    } else {
      this.weight = parameter(weightName, weight);
    }
    this.bias = bias == null ? null : parameter(biasName, bias);
  }

  /**
   * A linear layer over a quantised weight.
   *
   * @param weight [out, in]; closed with the layer
   * @param bias [out], or null
   */
  public Linear(QuantisedWeight weight, @Nullable Tensor bias) {
    this.weightName = "weight";
    this.biasName = "bias";
    this.codes = weight;
    this.bias = bias == null ? null : parameter(biasName, bias);
  }

  /** A linear layer from a checkpoint; its bias is optional. */
  public static Linear from(Weights weights) {
    return new Linear(weights.get("weight"), weights.find("bias"));
  }

  /** What the weight is called below this layer's path. */
  public final String weightName() {
    return weightName;
  }

  /** What the bias is called below this layer's path. */
  public final String biasName() {
    return biasName;
  }

  /** Number of input features; where the layer is split, of those that this rank has. */
  public final long in() {
    return codes != null ? codes.in() : stored().size(transposed() ? 0 : 1);
  }

  /** Number of output features; where the layer is split, of those that this rank has. */
  public final long out() {
    return codes != null ? codes.out() : stored().size(transposed() ? 1 : 0);
  }

  /** Whether a checkpoint stores the weight as [in, out], as GPT-2's Conv1D. */
  public boolean transposed() {
    return false;
  }

  /**
   * The weight, [out, in]: a view of what is stored. Of a quantised one it is a copy, of the size
   * that quantising saves, in the caller's scope; see {@link #originalRows}.
   */
  @Override
  public final Tensor weight() {
    beforeReading();
    return presentWeight();
  }

  @Override
  final Tensor presentWeight() {
    return codes != null ? codes.rows(0, codes.out()) : logical(stored());
  }

  @Override
  final boolean ownsWeight() {
    return weight != null && PrivateMemory.isSolelyHeld(weight);
  }

  /**
   * The weight as the checkpoint holds it: [out, in], or [in, out] where {@link #transposed}; of a
   * quantised one a copy.
   */
  public final Tensor storedWeight() {
    return codes != null ? logical(weight()) : storedAfterReading();
  }

  private Tensor storedAfterReading() {
    beforeReading();
    return stored();
  }

  private Tensor stored() {
    return Objects.requireNonNull(weight, "the layer is closed");
  }

  /** From what is stored to [out, in], and back. */
  private Tensor logical(Tensor tensor) {
    return transposed() ? tensor.t() : tensor;
  }

  /** The codes that stand for the weight, or null if it is a plain tensor. */
  public final @Nullable QuantisedWeight quantised() {
    return codes;
  }

  /**
   * Stores the weight in another form. Nothing may be merged.
   *
   * @param replacement [out, in]; closed with the layer
   */
  public final void quantise(QuantisedWeight replacement) {
    adapters().requireUnmerged();
    putCodes(replacement);
    adapters().weightReplaced();
  }

  /** Makes the values that the codes stand for the weight; a plain weight stays as it is. */
  public final void dequantise() {
    if (codes == null) {
      return;
    }
    adapters().requireUnmerged();
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      putTensor(presentWeight());
    }
    adapters().weightReplaced();
  }

  /** Takes codes over in the place of what is stored; the former codes are closed. */
  @Override
  final void putCodes(QuantisedWeight replacement) {
    dropCodes();
    codes = replacement;
    if (weight != null) {
      removeParameter(weightName);
      weight = null;
    }
  }

  private void putTensor(Tensor w) {
    Tensor owned = parameter(weightName, logical(w));
    dropCodes();
    weight = owned;
  }

  private void dropCodes() {
    if (codes != null) {
      codes.close();
      codes = null;
    }
  }

  /**
   * The weight as it was before anything was merged, to be read some rows at a time, also in
   * backward: what is returned holds on to the weight that the layer has now.
   */
  public final WeightRows originalRows() {
    QuantisedWeight original = adapters().weights().originalCodes();
    if (original != null) {
      return original::rows;
    }
    Tensor w = originalWeight();
    return (from, length) -> w.narrow(0, from, length);
  }

  @Override
  final @Nullable QuantisedWeight codes() {
    return codes;
  }

  @Override
  public final ScalarType dtype() {
    return codes != null ? codes.dtype() : stored().scalar_type().intern();
  }

  @Override
  public @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public final Tensor base(Tensor x) {
    return withBias(x, bias);
  }

  /**
   * x Wᵀ and another bias than the layer's own.
   *
   * @param other [out], or null for none
   */
  public final Tensor withBias(Tensor x, @Nullable Tensor other) {
    return codes != null ? QuantisedProduct.of(this, codes, x, other) : base(x, weight(), other);
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

  private Tensor local(Tensor x, Tensor w, @Nullable Tensor b) {
    if (oneRow(x, w)) {
      // A decoded token. libtorch hands one row to a matrix product, which was measured three times
      // slower here than the matrix-vector product, and that reads the weight at full speed.
      Tensor y = w.mv(x.reshape(-1));
      long[] shape = x.shape();
      shape[shape.length - 1] = w.size(0);
      return (b == null ? y : y.add_(b)).view(shape);
    }
    if (FewRows.fit(x, w)) {
      return FewRows.linear(x, isStored(w) ? packed.of(w, x.numel() / x.size(-1)) : w, b);
    }
    if (HalfPrecision.emulated(x) && !w.requires_grad() && x.numel() >= 16 * x.size(-1)) {
      return HalfPrecision.linearWide(x, w, b);
    }
    return b == null ? linear(x, w) : linear(x, w, new TensorOptional(b));
  }

  /**
   * x Wᵀ + bias without a graph, in given memory unless these rows go a way that brings its own.
   *
   * @param x [T, in]
   * @param room [T, out] in the dtype of x
   */
  final Tensor into(Tensor x, Tensor w, @Nullable Tensor b, Supplier<Tensor> room) {
    if (partition() != null || oneRow(x, w) || FewRows.fit(x, w) || HalfPrecision.emulated(x)) {
      return base(x, w, b);
    }
    Tensor y = room.get(); // and not what the product returns, a second handle that owns nothing
    if (b == null) {
      mm_out(y, x, w.t());
    } else {
      addmm_out(y, b, x, w.t());
    }
    return y;
  }

  // Another weight, such as one that an adapter makes, is not asked for again.
  private boolean isStored(Tensor w) {
    return weight != null && w.is_same(weight);
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
  final void replaceWeight(Tensor w) {
    if (codes == null) {
      putTensor(w);
      return;
    }
    QuantisedWeight again = codes.requantised(w);
    if (again == null) {
      throw new IllegalStateException(unwritable(codes));
    }
    putCodes(again);
  }

  @Override
  public final @Nullable String mergeRefusal(Adapter adapter) {
    return codes == null || codes.writable() || adapter.mergesInto(codes)
        ? null
        : unwritable(codes);
  }

  private static String unwritable(QuantisedWeight codes) {
    return "the base is stored as %s, in which a changed weight can not be written; dequantise it first (--dequantize)"
        .formatted(codes.format());
  }

  @Override
  void replaceBias(Tensor b) {
    bias = parameter(biasName, b);
  }

  @Override
  public void close() {
    packed.forget();
    super.close();
    dropCodes();
  }
}
