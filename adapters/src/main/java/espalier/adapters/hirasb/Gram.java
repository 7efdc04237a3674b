package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.cholesky_solve;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_cholesky;
import static org.bytedeco.pytorch.global.torch.linalg_solve_triangular;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The Gram matrix of X ↦ W ⊙ (B X A), as the factor of Cholesky: K = L Lᵀ, with
 *
 * <pre>
 *     K = Σ_ij W²_ij (b_i b_iᵀ) ⊗ (a_j a_jᵀ)      vec X row by row
 * </pre>
 *
 * <p>K⁻¹ turns the gradient of R into the orthogonal projection of the full gradient. In the
 * coordinates Z with vec R = L⁻ᵀ vec Z / s the plain gradient is that projection, so that any
 * optimizer can use it.
 *
 * @param l the lower triangle [r², r²]
 */
public record Gram(Tensor l) {

  /** The ridge on K, relative to the mean of its diagonal, that keeps it invertible. */
  public static final double RIDGE = 1e-6;

  /** Entries of W² that are multiplied at once. */
  private static final long BLOCK = 1 << 22;

  /** Factors K + ridge · mean(diag K). */
  public static Gram of(Tensor w, Bases bases, double ridge) {
    Tensor k = matrix(w, bases);
    double mean = k.diagonal().mean().item_double();
    double shift = mean > 0 ? ridge * mean : 1; // no weight at all: any coordinates will do
    return new Gram(linalg_cholesky(k.add_(eye(k.size(0), k.options()).mul_(new Scalar(shift)))));
  }

  /** K itself [r², r²]. */
  public static Tensor matrix(Tensor w, Bases bases) {
    long r = bases.a().size(0);
    var pairs = Pairs.of(r, w);
    Tensor left = pairs.products(bases.b()); // [m, p]
    Tensor right = pairs.products(bases.a().t()); // [n, p]
    long m = w.size(0);
    long rows = Math.clamp(BLOCK / w.size(1), 1, m);
    Tensor sum = w.new_zeros(left.size(1), right.size(1));
    for (long from = 0; from < m; from += rows) {
      long length = Math.min(rows, m - from);
      Tensor part = w.narrow(0, from, length).square().mm(right);
      sum.addmm_(left.narrow(0, from, length).t(), part);
    }
    return pairs
        .square(pairs.square(sum, 0), 1)
        .view(r, r, r, r) // k, k', l, l'
        .permute(0, 2, 1, 3)
        .reshape(r * r, r * r);
  }

  /** K⁻¹ vec X, in the shape of X [r, r]. */
  public Tensor solve(Tensor x) {
    return cholesky_solve(x.reshape(-1, 1), l).view(x.size(0), x.size(1));
  }

  /** R of the coordinates Z: L⁻ᵀ vec Z / s. */
  public Tensor plain(Tensor z, double s) {
    Tensor r = linalg_solve_triangular(l.t(), z.reshape(-1, 1), true);
    return r.view(z.size(0), z.size(1)).div(new Scalar(s));
  }

  /** The coordinates Z of R: s Lᵀ vec R. */
  public Tensor whitened(Tensor r, double s) {
    return l.t().mm(r.reshape(-1, 1)).view(r.size(0), r.size(1)).mul(new Scalar(s));
  }
}
