package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_solve;

import espalier.adapters.calibration.Svd;
import espalier.nn.Init;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * The frozen bases of HiRA-SB: those B and A for which W ⊙ (B X A), over all X, comes close to a
 * wanted update D.
 *
 * <p>A weighted low-rank problem with the weights W², which has no closed form. It starts from the
 * balanced singular value decomposition, the optimum where W² has rank one, goes on by alternating
 * least squares, and ends in bases with Bᵀ D_u B = 1 and A D_v Aᵀ = 1, for which one unit of R is
 * about one unit of weight.
 *
 * @param b [m, r]
 * @param a [r, n]
 */
public record Bases(Tensor b, Tensor a) {

  /** Relative to the mean of W²; keeps rows solvable that have fewer weights than r. */
  public static final double RIDGE = 1e-4;

  /** Columns beyond r that the randomised decomposition carries. */
  private static final int EXTRA = 8;

  private static final int POWERS = 6;

  /** Entries of the r × r systems that are formed at once: 16 MB in float32. */
  private static final long BLOCK = 1 << 22;

  /**
   * Bases for an update.
   *
   * @param d the wanted update [m, n], in the dtype of the weight; W ⊙ D must not be all zero
   * @param r from 1 to min(m, n)
   * @param sweeps of alternating least squares
   * @param init where a large matrix's random projection is drawn from
   */
  public static Bases of(Weighting weighting, Tensor d, int r, int sweeps, Init init) {
    return of(weighting, d, r, sweeps, init, BLOCK);
  }

  /** The same with other blocks, given as the entries of the systems that are formed at once. */
  static Bases of(Weighting weighting, Tensor d, int r, int sweeps, Init init, long block) {
    Tensor wd = weighting.w().mul(d);
    Bases bases = decomposed(weighting, wd, r, init);
    for (int i = 0; i < sweeps; i++) {
      bases = bases.improved(weighting.w().square(), wd, block);
    }
    return bases.balanced(weighting);
  }

  /** Balanced bases that know nothing of the task. */
  static Bases random(Weighting weighting, int r, Init init) {
    Tensor w = weighting.w();
    return new Bases(like(w, init.normal(1, w.size(0), r)), like(w, init.normal(1, r, w.size(1))))
        .balanced(weighting);
  }

  /** The balanced singular value decomposition: of D_u^-½ (W ⊙ D) D_v^-½. */
  private static Bases decomposed(Weighting weighting, Tensor wd, int r, Init init) {
    Tensor x = wd.div(weighting.rows()).div_(weighting.columns());
    boolean small = Math.min(x.size(0), x.size(1)) <= 4L * (r + EXTRA);
    Tensor range = small ? null : range(x, r + EXTRA, init);
    Svd svd = Svd.of(range == null ? x : range.t().mm(x));
    Tensor u = (range == null ? svd.u() : range.mm(svd.u())).narrow(1, 0, r);
    Tensor signs = u.gather(0, u.abs().argmax(new LongOptional(0), true)).sign(); // [1, r]
    return new Bases(
        u.mul(signs).div_(weighting.rows()),
        svd.vt().narrow(0, 0, r).mul(signs.t()).div_(weighting.columns()));
  }

  /** Orthonormal columns that span the range of x but for its small singular values. */
  private static Tensor range(Tensor x, long columns, Init init) {
    Tensor q = orthonormal(x.mm(like(x, init.normal(1, x.size(1), columns))));
    for (int i = 0; i < POWERS; i++) {
      q = orthonormal(x.mm(orthonormal(x.t().mm(q))));
    }
    return q;
  }

  private static Tensor like(Tensor x, Tensor drawn) {
    return drawn.to(x.device(), x.scalar_type().intern());
  }

  private static Tensor orthonormal(Tensor columns) {
    return linalg_qr(columns).get0();
  }

  /** One sweep: the best B for this A, then the best A for that B. */
  private Bases improved(Tensor squares, Tensor wd, long block) {
    double ridge = RIDGE * squares.mean().item_double();
    Tensor rows = least(squares, wd, orthonormal(a.t()), ridge, block); // [m, r]
    Tensor columns = least(squares.t(), wd.t(), orthonormal(rows), ridge, block); // [n, r]
    return new Bases(orthonormal(rows), columns.t());
  }

  /** For each row i the b with (Σ_j W²_ij c_j c_jᵀ + ρ) b = Σ_j (W ⊙ D)_ij c_j, all at once. */
  private static Tensor least(Tensor squares, Tensor wd, Tensor c, double ridge, long block) {
    long r = c.size(1);
    var pairs = Pairs.of(r, c);
    Tensor products = pairs.products(c); // [n, p]
    Tensor damped = eye(r, c.options()).mul_(new Scalar(ridge));
    Tensor right = wd.mm(c).unsqueeze(2); // [m, r, 1]
    long m = squares.size(0);
    long rows = Math.clamp(block / (r * r), 1, m);
    var solved = new TensorVector();
    for (long from = 0; from < m; from += rows) {
      long length = Math.min(rows, m - from);
      Tensor systems = pairs.square(squares.narrow(0, from, length).mm(products), 1);
      solved.push_back(
          linalg_solve(systems.view(length, r, r).add_(damped), right.narrow(0, from, length)));
    }
    return cat(solved, 0).squeeze(2);
  }

  /** The same spans with Bᵀ D_u B = 1 and A D_v Aᵀ = 1. */
  public Bases balanced(Weighting weighting) {
    Tensor left = orthonormal(b.mul(weighting.rows())).div(weighting.rows());
    Tensor right = orthonormal(a.mul(weighting.columns()).t()).t().div(weighting.columns());
    return new Bases(left, right.contiguous());
  }

  /** The nearest bases that a file of this dtype can hold. */
  Bases rounded(BasisDtype dtype) {
    return new Bases(dtype.rounded(b), dtype.rounded(a));
  }

  /** W ⊙ (B X A): what X moves the weight by, before the factor s. */
  public Tensor update(Tensor w, Tensor x) {
    return w.mul(b.mm(x).mm(a));
  }

  /** Bᵀ (W ⊙ G) Aᵀ [r, r]: the gradient of X for the gradient G of the update. */
  public Tensor gradient(Tensor w, Tensor g) {
    return b.t().mm(w.mul(g)).mm(a.t());
  }
}
