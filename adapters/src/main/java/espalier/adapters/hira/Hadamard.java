package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.addcmul_out;
import static org.bytedeco.pytorch.global.torch.addmm_out;
import static org.bytedeco.pytorch.global.torch.empty_like;
import static org.bytedeco.pytorch.global.torch.mm_out;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.nn.CustomFunction;
import espalier.nn.Features;
import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.nn.Scratch;
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
              Tensor room = Scope.room(flat, flat.size(0), out);
              ScalarType computed = computed(flat);
              try (var scratch = Scratch.frame()) {
                return scratch.written(
                    room, computed, to -> forward(scratch.as(flat, computed), p, q, to));
              }
            },
            (g, saved) -> backward(g, saved, wanted));
    return Features.shaped(y, x);
  }

  private void forward(Tensor x, Tensor p, Tensor q, Tensor y) {
    Tensor own = layer == null ? null : layer.bias();
    Tensor bias = own == null ? null : own.to(x.scalar_type().intern());
    long together = Modulation.of(p, q).together();
    if (half) {
      Tensor delta = x.new_empty(out, columns).to(dtype);
      blocks(
          together,
          (from, length, _) ->
              delta.narrow(0, from, length).copy_(matrix(w, p, q, from, length, false)));
      if (layer == null) {
        mm_out(y, x, delta.t());
      } else {
        y.copy_(layer.base(x)).addmm_(x, delta.t());
      }
      return;
    }
    blocks(
        together,
        (from, length, _) -> {
          Tensor e = matrix(w, p, q, from, length, withBase).t();
          Tensor part = y.narrow(1, from, length);
          if (bias == null) {
            mm_out(part, x, e);
          } else {
            addmm_out(part, bias.narrow(0, from, length), x, e);
          }
        });
  }

  /** Rows of W ⊙ M, or of W ⊙ (1 + M), in float32 or wider. */
  private Tensor matrix(WeightRows w, Tensor p, Tensor q, long from, long length, boolean plusOne) {
    try (var scratch = Scratch.frame()) {
      return matrix(scratch.as(w.rows(from, length), wide()), p, q, from, plusOne);
    }
  }

  /** The same where rows of W are at hand in that dtype, [length, n]; they stay as they are. */
  private Tensor matrix(Tensor rows, Tensor p, Tensor q, long from, boolean plusOne) {
    Tensor m = Modulation.of(p, q).to(wide()).rows(from, rows.size(0));
    if (plusOne) {
      addcmul_out(m, rows, rows, m);
    } else {
      m.mul_(rows);
    }
    return m;
  }

  private ScalarType wide() {
    return dtype == ScalarType.Double ? ScalarType.Double : ScalarType.Float;
  }

  private interface Block {
    void at(long from, long length, Scratch scratch);
  }

  /** Goes through the rows, none of the ranges reaching over a multiple of {@code together}. */
  private void blocks(long together, Block body) {
    for (long from = 0, length; from < out; from += length) {
      length = Math.min(rows, together - from % together);
      try (var scratch = Scratch.frame();
          var _ = new PointerScope()) {
        body.at(from, length, scratch);
      }
    }
  }

  private List<@Nullable Tensor> backward(Tensor g, List<Tensor> saved, boolean[] wanted) {
    Tensor x = saved.getFirst();
    Tensor room = wanted[0] ? empty_like(x) : null;
    ScalarType computed = computed(x);
    try (var scratch = Scratch.frame()) {
      Tensor dx = room != null && emulated ? scratch.empty(computed, x, x.shape()) : room;
      List<@Nullable Tensor> all =
          backward(scratch.as(g, computed), scratch.as(x, computed), dx, saved, wanted);
      if (room != null && emulated) {
        room.copy_(dx);
      }
      return Arrays.asList(room, all.get(1), all.get(2));
    }
  }

  private ScalarType computed(Tensor x) {
    return emulated ? ScalarType.Float : x.scalar_type().intern();
  }

  private List<@Nullable Tensor> backward(
      Tensor g, Tensor x, @Nullable Tensor dx, List<Tensor> saved, boolean[] wanted) {
    Tensor p = saved.get(1);
    Tensor q = saved.get(2);
    // A scope may have freed the handle that this object holds.
    WeightRows weight = plain == null ? w : (from, length) -> saved.get(3).narrow(0, from, length);
    boolean factors = wanted[1] || wanted[2];
    ScalarType wide = wide();
    Modulation modulation = Modulation.of(p, q).to(wide);
    Tensor e = dx != null && half ? x.new_empty(out, columns).to(dtype) : null;
    Tensor dp = zeros_like(p.to(wide));
    Tensor dq = zeros_like(q.to(wide));
    blocks(
        modulation.together(),
        (from, length, scratch) -> {
          Tensor part = g.narrow(1, from, length);
          Tensor own = scratch.as(weight.rows(from, length), wide);
          if (e != null) {
            e.narrow(0, from, length).copy_(matrix(own, p, q, from, withBase));
          } else if (dx != null) {
            var before = new Scalar(from == 0 ? 0 : 1); // the first rows are not added to anything
            dx.addmm_(part, matrix(own, p, q, from, withBase), before, new Scalar(1));
          }
          if (factors) {
            ScalarType dtypeOfX = x.scalar_type().intern();
            Tensor gm = mm_out(scratch.empty(dtypeOfX, x, length, columns), part.t(), x);
            modulation.backward(from, scratch.as(gm, wide).mul_(own), dp, dq);
          }
        });
    if (dx != null && e != null) {
      mm_out(dx, g, e);
    }
    return Arrays.asList(
        dx,
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
