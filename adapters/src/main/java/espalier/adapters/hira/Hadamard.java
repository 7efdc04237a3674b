package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.addcmul_out;
import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.addmm_out;
import static org.bytedeco.pytorch.global.torch.mm_out;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.CustomFunction;
import espalier.nn.Features;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.WeightRows;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Products with a weight that is multiplied entry by entry by a low-rank matrix, W ⊙ M, which is
 * never kept: one autograd node saves x and the factors and forms the matrix again in backward.
 *
 * <pre>
 *     M = PQ     E = W ⊙ (1 + M)     y = x Eᵀ     dx = g E     G = (gᵀ x) ⊙ W
 *     dP = G Qᵀ     dQ = Pᵀ G
 * </pre>
 *
 * <p>In float32 the matrix goes by blocks of rows, so that the scratch stays small. In half
 * precision the base and the branch are two products, because 1 + M rounds to 1 for |M| below 2⁻⁹
 * and would erase a young adapter; only dx, where that does no harm, uses the sum.
 */
public final class Hadamard {

  /** Entries of W that are formed at once: 16 MB in float32. */
  private static final long BLOCK = 1 << 22;

  private final @Nullable Linear layer; // null for a weight by itself
  private final ScalarType dtype; // of the weight
  private final WeightRows w; // [m, n]
  private final @Nullable Tensor plain; // the same, if it is a tensor and not codes
  private final long columns;
  private final boolean half;
  private final boolean emulated; // half precision that is computed in float32
  private final boolean withBase;
  private final long out; // rows of w, which a scope may have freed by the time of backward
  private final long rows; // of a block

  Hadamard(Linear layer, boolean withBase, long block) {
    this(
        withBase ? layer : null,
        layer.originalRows(),
        layer.quantised() == null ? layer.originalWeight() : null,
        new long[] {layer.out(), layer.in()},
        block);
  }

  private Hadamard(
      @Nullable Linear layer, WeightRows w, @Nullable Tensor plain, long[] shape, long block) {
    this.layer = layer;
    this.w = w;
    this.plain = plain;
    withBase = layer != null;
    Tensor first = w.rows(0, 1);
    dtype = first.scalar_type().intern();
    emulated = HalfPrecision.emulated(first);
    half = HalfPrecision.isHalf(first) && !emulated;
    out = shape[0];
    columns = shape[1];
    rows = Math.clamp(block / Math.max(1, columns), 1, out);
  }

  /**
   * The layer's output and the branch together: x Wᵀ + bias + x (W ⊙ M)ᵀ.
   *
   * @param x [..., n]
   * @param p [m, r], or [b, r, m/b] for a modulation by a grid of b × b blocks
   * @param q [r, n], or [b, n/b, r]
   * @return [..., m]
   */
  public static Tensor whole(Linear layer, Tensor x, Tensor p, Tensor q) {
    if (!layer.adapters().merged().isEmpty()) { // the base is no longer the W of the branch
      return layer.base(x).add(branch(layer, x, p, q));
    }
    return new Hadamard(layer, true, BLOCK).apply(x, p, q);
  }

  /** The branch alone: x (W ⊙ M)ᵀ, in the dtype of x. */
  public static Tensor branch(Linear layer, Tensor x, Tensor p, Tensor q) {
    return new Hadamard(layer, false, BLOCK).apply(x, p, q);
  }

  /** The branch of a weight [m, n] that is not a layer by itself: x (W ⊙ M)ᵀ. */
  static Tensor branch(Tensor w, Tensor x, Tensor p, Tensor q) {
    WeightRows rows = (from, length) -> w.narrow(0, from, length);
    return new Hadamard(null, rows, w, new long[] {w.size(0), w.size(1)}, BLOCK).apply(x, p, q);
  }

  Tensor apply(Tensor x, Tensor p, Tensor q) {
    Tensor flat = Features.rows(x);
    List<Tensor> inputs = List.of(flat, p, q);
    boolean oneToken = flat.size(0) == 1 && !CustomFunction.needed(inputs);
    boolean[] wanted = {flat.requires_grad(), p.requires_grad(), q.requires_grad()};
    Tensor y =
        CustomFunction.apply(
            inputs,
            plain == null ? inputs : List.of(flat, p, q, plain), // codes are decoded again
            () -> {
              if (oneToken) {
                return token(flat, p, q);
              }
              return emulated
                  ? forward(wide(flat), p, q).to(flat.scalar_type().intern())
                  : forward(flat, p, q);
            },
            (g, saved) ->
                emulated
                    ? wideBackward(g, saved, wanted)
                    : backward(g, saved.getFirst(), saved, wanted));
    return Features.shaped(y, x);
  }

  private Tensor forward(Tensor x, Tensor p, Tensor q) {
    long m = out;
    Tensor own = layer == null ? null : layer.bias();
    Tensor bias = own == null ? null : own.to(x.scalar_type().intern());
    if (half) {
      Tensor delta = x.new_empty(m, columns).to(dtype);
      blocks(
          Modulation.of(p, q).together(),
          (from, length) ->
              delta.narrow(0, from, length).copy_(matrix(w, p, q, from, length, false)));
      return layer == null ? x.mm(delta.t()) : layer.base(x).addmm_(x, delta.t());
    }
    long together = Modulation.of(p, q).together();
    if (rows >= m && together >= m) {
      return product(x, matrix(w, p, q, 0, m, withBase), bias);
    }
    Tensor y = x.new_empty(x.size(0), m);
    blocks(
        together,
        (from, length) -> {
          Tensor e = matrix(w, p, q, from, length, withBase).t();
          Tensor part = y.narrow(1, from, length);
          if (bias == null) {
            mm_out(part, x, e);
          } else {
            addmm_out(part, bias.narrow(0, from, length), x, e);
          }
        });
    return y;
  }

  private static Tensor product(Tensor x, Tensor e, @Nullable Tensor bias) {
    return bias == null ? x.mm(e.t()) : addmm(bias, x, e.t());
  }

  /** Rows of W ⊙ M, or of W ⊙ (1 + M), in float32 or wider. */
  private Tensor matrix(WeightRows w, Tensor p, Tensor q, long from, long length, boolean plusOne) {
    return matrix(w.rows(from, length).to(wide()), p, q, from, plusOne);
  }

  /** The same where rows of W are at hand in that dtype, [length, n]; they stay as they are. */
  private Tensor matrix(Tensor rows, Tensor p, Tensor q, long from, boolean plusOne) {
    Tensor m = Modulation.of(p, q).to(wide()).rows(from, rows.size(0));
    return plusOne ? addcmul_out(m, rows, rows, m) : m.mul_(rows);
  }

  private ScalarType wide() {
    return dtype == ScalarType.Double ? ScalarType.Double : ScalarType.Float;
  }

  private interface Block {
    void at(long from, long length);
  }

  /** Goes through the rows, none of the ranges reaching over a multiple of {@code together}. */
  private void blocks(long together, Block body) {
    for (long from = 0, length; from < out; from += length) {
      length = Math.min(rows, together - from % together);
      try (var _ = new PointerScope()) {
        body.at(from, length);
      }
    }
  }

  private static Tensor wide(Tensor t) {
    return t.to(ScalarType.Float);
  }

  private List<@Nullable Tensor> wideBackward(Tensor g, List<Tensor> saved, boolean[] wanted) {
    Tensor x = saved.getFirst();
    List<@Nullable Tensor> wideOnes = backward(wide(g), wide(x), saved, wanted);
    Tensor dx = wideOnes.getFirst();
    return Arrays.asList(
        dx == null ? null : dx.to(x.scalar_type().intern()), wideOnes.get(1), wideOnes.get(2));
  }

  private List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> saved, boolean[] wanted) {
    Tensor p = saved.get(1);
    Tensor q = saved.get(2);
    // A scope may have freed the handle that this object holds.
    WeightRows weight = plain == null ? w : (from, length) -> saved.get(3).narrow(0, from, length);
    boolean factors = wanted[1] || wanted[2];
    ScalarType wide = wide();
    Modulation modulation = Modulation.of(p, q).to(wide);
    Tensor dx = wanted[0] && !half ? x.new_empty(x.size(0), x.size(1)) : null;
    Tensor e = wanted[0] && half ? x.new_empty(out, columns).to(dtype) : null;
    Tensor dp = zeros_like(p.to(wide));
    Tensor dq = zeros_like(q.to(wide));
    blocks(
        modulation.together(),
        (from, length) -> {
          Tensor part = g.narrow(1, from, length);
          Tensor own = weight.rows(from, length).to(wide);
          if (dx != null) {
            var before = new Scalar(from == 0 ? 0 : 1); // the first rows are not added to anything
            dx.addmm_(part, matrix(own, p, q, from, withBase), before, new Scalar(1));
          } else if (e != null) {
            e.narrow(0, from, length).copy_(matrix(own, p, q, from, withBase));
          }
          if (factors) {
            Tensor gm = part.t().mm(x).to(wide).mul_(own);
            modulation.backward(from, gm, dp, dq);
          }
        });
    Tensor toX = e == null ? dx : g.mm(e);
    return Arrays.asList(
        toX,
        wanted[1] ? dp.to(p.scalar_type().intern()) : null,
        wanted[2] ? dq.to(q.scalar_type().intern()) : null);
  }

  private Tensor token(Tensor x, Tensor p, Tensor q) {
    Tensor y = Modulation.of(p, q).token(w.rows(0, out), x, withBase);
    Tensor bias = layer == null ? null : layer.bias();
    return (bias == null ? y : y.add_(bias)).to(x.scalar_type().intern());
  }

  /** The formula as autograd sees it, for comparison. */
  static Tensor plain(Linear layer, Tensor x, Tensor p, Tensor q) {
    return layer.base(x).add(x.matmul(layer.originalWeight().mul(p.matmul(q)).t()));
  }
}
