package espalier.nn;

import static org.bytedeco.pytorch.global.torch.empty_like;
import static org.bytedeco.pytorch.global.torch.linalg_vector_norm;

import java.util.List;
import java.util.function.Supplier;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * y = x / rms(x) ⊙ w over the last dimension, in float32 inside.
 *
 * <p>One autograd function: backward keeps x and one number a row, where plain autograd would keep
 * four tensors of the size of x.
 *
 * @see <a href="https://arxiv.org/abs/1910.07467">Root Mean Square Layer Normalization</a>
 */
public final class RmsNorm extends Adaptable {

  private Tensor weight; // [D]
  private final double epsilon;
  private final boolean plusOne;

  /** A norm over w [D]. */
  public RmsNorm(Tensor weight, double epsilon) {
    this(weight, epsilon, false);
  }

  /**
   * A norm over w [D].
   *
   * @param plusOne whether the factor is 1 + w and applied in float32, as in Gemma
   */
  public RmsNorm(Tensor weight, double epsilon, boolean plusOne) {
    this.weight = parameter("weight", weight);
    this.epsilon = epsilon;
    this.plusOne = plusOne;
  }

  @Override
  public Tensor weight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return null;
  }

  @Override
  public Tensor base(Tensor x) {
    if (weight.requires_grad()) {
      return plain(x);
    }
    long[] rows = x.shape();
    rows[rows.length - 1] = 1;
    Tensor r = Scope.room(ScalarType.Float, x, rows); // 1 / rms, [..., 1]
    Tensor y;
    try (var _ = new NoGradGuard()) {
      y = Scope.result(() -> scaled(x, () -> normalised(x, r)));
    }
    return CustomFunction.join(
        y, List.of(x), List.of(x, r), (g, saved) -> List.of(backward(g, saved)));
  }

  /** x / rms(x) in float32; 1 / rms(x) is written to r. */
  private Tensor normalised(Tensor x, Tensor r) {
    Tensor f = x.to(ScalarType.Float);
    r.copy_(linalg_vector_norm(f, new Scalar(2), new long[] {-1}, true, new ScalarTypeOptional()));
    r.square_().div_(new Scalar((double) x.size(-1))).add_(new Scalar(epsilon)).rsqrt_();
    return f.mul(r);
  }

  private Tensor scaled(Tensor x, Supplier<Tensor> normalised) {
    return plusOne
        ? narrow(x, () -> normalised.get().mul_(factor()))
        : narrow(x, normalised).mul_(weight);
  }

  /** Float32 numbers in the dtype and shape of x. */
  private static Tensor narrow(Tensor x, Supplier<Tensor> wide) {
    return x.scalar_type().intern() == ScalarType.Float
        ? wide.get()
        : HalfPrecision.rounded(empty_like(x), wide);
  }

  private Tensor factor() {
    return factor(weight);
  }

  private Tensor factor(Tensor weight) {
    Tensor w = weight.to(ScalarType.Float);
    return plusOne ? w.add(new Scalar(1)) : w;
  }

  private Tensor backward(Tensor g, List<Tensor> saved) {
    Tensor x = saved.get(0);
    Tensor r = saved.get(1);
    return narrow(
        x,
        () -> {
          Tensor n = x.to(ScalarType.Float).mul(r);
          Tensor gw =
              plusOne ? g.to(ScalarType.Float).mul(factor()) : g.mul(weight).to(ScalarType.Float);
          Tensor along = gw.mul(n).mean(new long[] {-1}, true, new ScalarTypeOptional());
          return gw.addcmul_(n, along, new Scalar(-1)).mul_(r);
        });
  }

  /** The formula as autograd sees it: for a norm that is itself trained, and as a test's oracle. */
  Tensor plain(Tensor x) {
    return base(x, weight, null);
  }

  @Override
  public Tensor base(Tensor x, Tensor w, @Nullable Tensor none) {
    Tensor f = x.to(ScalarType.Float);
    Tensor r =
        f.mul(f)
            .mean(new long[] {-1}, true, new ScalarTypeOptional())
            .add(new Scalar(epsilon))
            .rsqrt();
    Tensor normalised = f.mul(r);
    return plusOne
        ? normalised.mul(factor(w)).to(x.scalar_type().intern())
        : w.mul(normalised.to(x.scalar_type().intern()));
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter("weight", w);
  }

  @Override
  void replaceBias(Tensor b) {
    throw new IllegalStateException("this norm has no bias");
  }
}
