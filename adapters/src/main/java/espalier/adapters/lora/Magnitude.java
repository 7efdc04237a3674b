package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.mul_out;

import espalier.nn.Adaptable;
import espalier.nn.CustomFunction;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * DoRA's trained magnitude m over a layer's output u = (W + ΔW) x: y = (m / n) ⊙ u, with n the
 * length of each row of W + ΔW, which counts as a constant in backward.
 *
 * <pre>
 *     du = G ⊙ (m / n)     dm = Σ G ⊙ u / n = Σ G ⊙ y / m
 * </pre>
 *
 * <p>So backward needs y and not u. y takes the place of u in memory, and the next layer often
 * keeps it too.
 *
 * @see <a href="https://arxiv.org/abs/2402.09353">DoRA, section 4.3</a>
 */
final class Magnitude implements AutoCloseable {

  /** What m is called in files. */
  static final String NAME = "lora_magnitude_vector";

  /** What is said to who wants the reference's refusals. */
  static final String ROWS_REFUSAL =
      "the reference gives no rows of a batch to use_dora; switch referenceRefusals off to have"
          + " them";

  /** m / n is kept this far from 0, so that y still tells u where m is 0. */
  private static final double FLOOR = 1e-20;

  /** Entries of the gradient that are in work at once, few enough to stay in the cache. */
  private static final long BLOCK = 1 << 16;

  private final Tensor m; // [out], or with ones so that it fits the output
  private final List<Tensor> sources;
  private final DoubleSupplier scaling;
  private final Supplier<Tensor> norms;
  private volatile @Nullable Known known;

  /** m / n, and what it was computed from. */
  private record Known(Tensor factor, List<Long> versions, double scaling) {}

  /**
   * A magnitude over given lengths.
   *
   * @param m the trained magnitude, in a shape that spreads over the output
   * @param sources what the lengths are computed from, beside the layer's weight
   * @param scaling the factor on B·A
   * @param norms computes the lengths [out], float32 or wider
   */
  Magnitude(Tensor m, List<Tensor> sources, DoubleSupplier scaling, Supplier<Tensor> norms) {
    this.m = m;
    this.sources = new ArrayList<>(sources);
    this.sources.add(m);
    this.scaling = scaling;
    this.norms = norms;
  }

  /**
   * Multiplies the output of the summed weight by m / n.
   *
   * @param u an output without its bias, which is written to
   * @param training whether the adapter is in training
   */
  Tensor scale(Tensor u, boolean training) {
    boolean graph = CustomFunction.needed(List.of(u, m));
    if (!graph && !training) {
      return u.mul_(remembered());
    }
    if (training) {
      forget();
    }
    Tensor n;
    Tensor c;
    Tensor y;
    try (var _ = new NoGradGuard()) {
      n = Scope.result(this::lengths);
      c = factor(n);
      y = u.variable_data().mul_(c);
    }
    if (!graph) {
      return y;
    }
    boolean trained = m.requires_grad();
    List<Tensor> saved = trained ? List.of(c, c.mul(n), y) : List.of(c);
    return CustomFunction.join(y, List.of(u, m), saved, (g, s) -> backward(g, s, trained));
  }

  /**
   * The output of a product that multiplies by m / n itself, and the gradient of m.
   *
   * @param product from m / n in the shape of m to the output without its bias, joined to a graph
   * @param training whether the adapter is in training
   */
  Tensor within(UnaryOperator<Tensor> product, boolean training) {
    boolean graph = CustomFunction.needed(List.of(m));
    if (!graph && !training) {
      return product.apply(remembered());
    }
    if (training) {
      forget();
    }
    Tensor n;
    Tensor c;
    try (var _ = new NoGradGuard()) {
      n = Scope.result(this::lengths);
      c = factor(n);
    }
    Tensor y = product.apply(c);
    if (!graph) {
      return y;
    }
    Tensor same = y.variable_data();
    return CustomFunction.join(
        same,
        List.of(y, m),
        List.of(c.mul(n), same),
        (g, saved) -> Arrays.asList(g, forM(g, saved.get(0), saved.get(1))));
  }

  private List<@Nullable Tensor> backward(Tensor g, List<Tensor> saved, boolean trained) {
    Tensor du = g.new_empty(g.sizes());
    mul_out(du, g, saved.getFirst());
    return Arrays.asList(du, trained ? forM(g, saved.get(1), saved.get(2)) : null);
  }

  /**
   * The gradient of m: the sum over positions of g ⊙ y / m.
   *
   * @param kept m as y has it, which is kept from 0
   */
  private Tensor forM(Tensor g, Tensor kept, Tensor y) {
    Tensor sum = kept.new_zeros(kept.sizes());
    long length = Math.max(1, g.size(0));
    long rows = Math.clamp(BLOCK * length / Math.max(1, g.numel()), 1, length);
    for (long from = 0; from < g.size(0); from += rows) {
      try (var _ = new PointerScope()) {
        long count = Math.min(rows, g.size(0) - from);
        Tensor part = g.narrow(0, from, count).to(kept.scalar_type().intern());
        sum.add_(part.mul(y.narrow(0, from, count)).sum_to_size(kept.sizes()));
      }
    }
    return sum.div_(kept).to(m.scalar_type().intern());
  }

  /** The lengths in the shape and, as at the start, to the digits of m. */
  private Tensor lengths() {
    Tensor n = norms.get();
    return n.view_as(m).to(m.scalar_type().intern()).to(n.scalar_type().intern());
  }

  private Tensor factor(Tensor n) {
    Tensor c = m.detach().to(n.scalar_type().intern()).div(n);
    return c.masked_fill_(c.abs().lt(new Scalar(FLOOR)), new Scalar(FLOOR));
  }

  /** m / n for use without gradients, in the shape of m. */
  Tensor now() {
    try (var _ = new NoGradGuard()) {
      return Scope.result(() -> factor(lengths()));
    }
  }

  /** Adds a bias to what {@link #scale} gave, which backward may still need. */
  static Tensor plus(Tensor scaled, Tensor bias) {
    return GradMode.is_enabled() ? scaled.add(bias) : scaled.add_(bias);
  }

  /** What merged adapters added to the layer's bias [out], which m / n scales too, or null. */
  static @Nullable Tensor mergedBias(Adaptable layer) {
    Tensor bias = layer.bias();
    Tensor original = layer.adapters().originalBias();
    return bias == null || original == null || bias.equals(original) ? null : bias.sub(original);
  }

  /** A merge's bias so far with m / n on what earlier adapters added to the layer's own. */
  @Nullable Tensor onMergedBias(Adaptable layer, @Nullable Tensor bias) {
    Tensor original = layer.adapters().originalBias();
    if (bias == null || original == null || bias.equals(original)) {
      return bias;
    }
    Tensor c = now().flatten();
    Tensor own = original.to(c.scalar_type().intern());
    return bias.sub(own).mul_(c).add_(own).to(bias.scalar_type().intern());
  }

  // Two vectors a layer are little to keep, so evaluation always keeps them. What may change them
  // is seen by the versions of the tensors, or told by forget().
  private Tensor remembered() {
    List<Long> versions = sources.stream().map(Tensor::__dispatch__version).toList();
    double s = scaling.getAsDouble();
    Known last = known;
    if (last != null && last.versions().equals(versions) && last.scaling() == s) {
      return last.factor();
    }
    return remember(new Known(Scope.own(now()), versions, s), last);
  }

  @SuppressWarnings("ReferenceEquality") // which of two passes it was, and not what it says
  private synchronized Tensor remember(Known next, @Nullable Known seen) {
    Known last = known;
    if (last != null && last != seen) { // another pass was first, and may be using it
      next.factor().close();
      return last.factor();
    }
    forget();
    known = next;
    return next.factor();
  }

  /** Drops what was computed ahead. */
  synchronized void forget() {
    Known last = known;
    if (last != null) {
      last.factor().close();
      known = null;
    }
  }

  @Override
  public void close() {
    forget();
  }
}
