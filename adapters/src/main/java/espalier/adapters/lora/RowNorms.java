package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.linalg_vector_norm;

import espalier.nn.HalfPrecision;
import espalier.nn.Scope;
import espalier.nn.Scratch;
import espalier.nn.WeightRows;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The lengths of the rows of W + s·B·A without that matrix, in float32 or wider:
 *
 * <pre>
 *     ‖Wᵢ + s·bᵢA‖² = ‖Wᵢ‖² + 2s·(W Aᵀ)ᵢ·bᵢ + s²·bᵢ(A Aᵀ)bᵢᵀ
 * </pre>
 *
 * <p>The first term is measured once and kept; the others cost as much as r rows of input.
 */
final class RowNorms implements AutoCloseable {

  /** What stands in for the length of a row of zeros, so that nothing is divided by 0. */
  private static final double TINY = Float.MIN_NORMAL;

  /**
   * Where less than this part of ‖Wᵢ‖² is left, W and s·B·A nearly cancel out and so do the digits
   * of the sum: in float32 about 1e-7 of ‖Wᵢ‖² is noise. Such rows are formed and measured.
   */
  private static final double CANCELLED = 0.1;

  /** Entries of a half-precision weight that are widened at once: 4 MB. */
  private static final long BLOCK = 1 << 20;

  private final Supplier<WeightRows> weight; // [out, in]
  private final LongSupplier out;
  private @Nullable Tensor squares; // [out]

  /** Over a plain tensor [out, in]. */
  RowNorms(Supplier<Tensor> weight) {
    this(
        () -> {
          Tensor w = weight.get();
          return (from, length) -> w.narrow(0, from, length);
        },
        () -> weight.get().size(0));
  }

  /** Over a weight that is read some rows at a time. */
  RowNorms(Supplier<WeightRows> weight, LongSupplier out) {
    this.weight = weight;
    this.out = out;
  }

  /**
   * The lengths [out], none of them 0.
   *
   * @param a [r, in]
   * @param b [out, r]
   */
  Tensor of(Tensor a, Tensor b, double s) {
    WeightRows w = weight.get();
    ScalarType wide = HalfPrecision.widened(w.rows(0, 1).scalar_type().intern());
    Tensor aw = a.to(wide);
    Tensor bw = b.to(wide);
    Tensor own = squares(w);
    Tensor product = byRows(w, part -> part.mm(aw.t())); // [out, r]
    Tensor cross = addmm(product, bw, aw.mm(aw.t()), new Scalar(2 * s), new Scalar(s * s)).mul_(bw);
    Tensor sum = cross.sum(1).add_(own);
    Tensor cancelled = sum.lt(own.mul(new Scalar(CANCELLED)));
    if (cancelled.any().item_bool()) { // waits for the device
      Tensor rows = cancelled.nonzero().flatten();
      Tensor formed =
          addmm(
              chosen(w, rows).to(wide), bw.index_select(0, rows), aw, new Scalar(1), new Scalar(s));
      sum.index_copy_(0, rows, lengths(formed).square_());
    }
    return sum.sqrt_().clamp_min_(new Scalar(TINY));
  }

  private Tensor chosen(WeightRows w, Tensor rows) {
    var chosen = new TensorVector();
    for (long i = 0; i < rows.numel(); i++) {
      chosen.push_back(w.rows(rows.select(0, i).item_long(), 1));
    }
    return cat(chosen, 0);
  }

  /** The lengths [out] of the rows of any matrix [out, in], none of them 0. */
  static Tensor lengths(Tensor matrix) {
    return linalg_vector_norm(
            matrix, new Scalar(2), new long[] {1}, false, new ScalarTypeOptional())
        .clamp_min_(new Scalar(TINY));
  }

  private synchronized Tensor squares(WeightRows w) {
    Tensor known = squares;
    if (known == null) {
      known = Scope.owned(() -> byRows(w, part -> lengths(part).square_()));
      squares = known;
    }
    return known;
  }

  /** Drops what is known of the weight, which has changed. */
  synchronized void forget() {
    if (squares != null) {
      squares.close();
      squares = null;
    }
  }

  @Override
  public void close() {
    forget();
  }

  /** What {@code body} makes of the rows of a weight, which it sees in float32 or wider. */
  private Tensor byRows(WeightRows w, UnaryOperator<Tensor> body) {
    long all = out.getAsLong();
    Tensor first = w.rows(0, 1);
    ScalarType wide = HalfPrecision.widened(first.scalar_type().intern());
    long rows = Math.clamp(BLOCK / Math.max(1, first.size(1)), 1, all);
    var parts = new TensorVector();
    for (long at = 0; at < all; at += rows) {
      long from = at;
      long length = Math.min(rows, all - at);
      try (var scratch = Scratch.frame()) {
        parts.push_back(Scope.result(() -> body.apply(scratch.as(w.rows(from, length), wide))));
      }
    }
    return cat(parts, 0);
  }
}
