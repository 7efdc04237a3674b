package espalier.adapters.combine;

import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;
import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.T_TensorTensorTensor_T;
import org.bytedeco.pytorch.T_TensorTensor_T;
import org.bytedeco.pytorch.Tensor;

/**
 * Singular value decompositions U·diag(s)·Vᵀ, largest values first, of matrices or batches of them.
 *
 * @param u [..., m, k], orthonormal columns
 * @param s [..., k], not increasing
 * @param vt [..., k, n], orthonormal rows
 */
record Decomposition(Tensor u, Tensor s, Tensor vt) {

  /** Up to this size the exact decomposition is the quicker one. */
  private static final long SMALL = 128;

  private static final int MOST_ROUNDS = 30;

  /** A round that finds less than this part of the energy more is the last one. */
  private static final double CONVERGED = 1e-7;

  /** Of a whole matrix [..., m, n], thin: k = min(m, n). */
  static Decomposition exact(Tensor matrix) {
    T_TensorTensorTensor_T svd = linalg_svd(matrix, false, new StringViewOptional());
    return new Decomposition(svd.get0(), svd.get1(), svd.get2());
  }

  /**
   * Of a product B·A, from its thin factors alone: two thin QR and the decomposition of the small
   * core between them. Exact, in time linear in m and n.
   *
   * @param b [..., m, r]
   * @param a [..., r, n]
   */
  static Decomposition ofProduct(Tensor b, Tensor a) {
    T_TensorTensor_T left = linalg_qr(b);
    T_TensorTensor_T right = linalg_qr(a.transpose(-2, -1));
    Decomposition core = exact(left.get1().matmul(right.get1().transpose(-2, -1)));
    return new Decomposition(
        left.get0().matmul(core.u), core.s, core.vt.matmul(right.get0().transpose(-2, -1)));
  }

  /**
   * The largest {@code rank} singular triplets of a matrix [..., m, n], and perhaps some more.
   *
   * <p>Small matrices, and ranks that are not small beside the matrix, are decomposed exactly. Of
   * others the leading subspace is found by randomised subspace iteration with twice the rank, from
   * a fixed start. It goes on until a round adds less than 10⁻⁷ of the energy that the rank holds,
   * so where singular values decay the result is exact in float32; where they are all alike, it may
   * hold less than the best approximation does by about that part a round.
   *
   * @see <a href="https://arxiv.org/abs/0909.4061">Halko, Martinsson, Tropp: Finding structure with
   *     randomness</a>
   */
  static Decomposition leading(Tensor matrix, long rank) {
    long least = Math.min(matrix.size(-2), matrix.size(-1));
    long width = 2 * rank + 8;
    return least <= SMALL || 3 * width >= least ? exact(matrix) : iterated(matrix, rank, width);
  }

  private static Decomposition iterated(Tensor matrix, long rank, long width) {
    Tensor transposed = matrix.transpose(-2, -1);
    Tensor q = basis(matrix.matmul(start(matrix, width)));
    Tensor p = q; // [..., n, width] from the first round on
    Tensor core = q;
    double energy = 0;
    for (int round = 0; round < MOST_ROUNDS; round++) {
      T_TensorTensor_T qr = linalg_qr(transposed.matmul(q));
      p = qr.get0();
      core = qr.get1().transpose(-2, -1); // the matrix is about q·core·pᵀ
      // waits for the device: once a round
      double found = linalg_svdvals(core).narrow(-1, 0, rank).square().sum().item_double();
      if (!(found - energy > CONVERGED * found)) { // written so that NaN ends it too
        break;
      }
      energy = found;
      if (round < MOST_ROUNDS - 1) {
        q = basis(matrix.matmul(p));
      }
    }
    Decomposition small = exact(core);
    return new Decomposition(q.matmul(small.u), small.s, small.vt.matmul(p.transpose(-2, -1)));
  }

  private static Tensor start(Tensor matrix, long width) {
    var generator = new GeneratorOptional(createCPUGenerator(0));
    return empty(matrix.size(-1), width).normal_(0, 1, generator).to(matrix);
  }

  private static Tensor basis(Tensor matrix) {
    return linalg_qr(matrix).get0();
  }

  /** How many singular values there are. */
  long size() {
    return s.size(-1);
  }

  /** The triplets of the largest {@code rank} singular values, or all if there are fewer. */
  Decomposition truncated(long rank) {
    long k = Math.min(rank, size());
    return new Decomposition(u.narrow(-1, 0, k), s.narrow(-1, 0, k), vt.narrow(-2, 0, k));
  }

  /** U·diag(s) [..., m, k]: with {@link #vt}, two factors of the matrix. */
  Tensor us() {
    return u.mul(s.unsqueeze(-2));
  }
}
