package espalier.nn;

import static org.bytedeco.pytorch.global.torch.linalg_vector_norm;

import java.util.List;
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
    var inverse = new Tensor[1]; // 1 / rms, [..., 1]
    Tensor y;
    try (var _ = new NoGradGuard()) {
      y =
          Scope.result(
              () -> {
                Tensor f = x.to(ScalarType.Float);
                Tensor norm =
                    linalg_vector_norm(
                        f, new Scalar(2), new long[] {-1}, true, new ScalarTypeOptional());
                Tensor r =
                    norm.square_()
                        .div_(new Scalar((double) x.size(-1)))
                        .add_(new Scalar(epsilon))
                        .rsqrt_();
                inverse[0] = Scope.own(r);
                return scaled(f.mul(r), x.scalar_type().intern());
              });
    }
    try (Tensor r = inverse[0]) {
      return CustomFunction.join(
          y, List.of(x), List.of(x, r), (g, saved) -> List.of(backward(g, saved)));
    }
  }

  private Tensor scaled(Tensor normalised, ScalarType dtype) {
    return plusOne ? normalised.mul_(factor()).to(dtype) : normalised.to(dtype).mul_(weight);
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
    Tensor normalised = x.to(ScalarType.Float).mul(r);
    Tensor gw = plusOne ? g.to(ScalarType.Float).mul(factor()) : g.mul(weight).to(ScalarType.Float);
    Tensor along = gw.mul(normalised).mean(new long[] {-1}, true, new ScalarTypeOptional());
    return gw.addcmul_(normalised, along, new Scalar(-1)).mul_(r).to(x.scalar_type().intern());
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
