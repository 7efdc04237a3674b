package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;

import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * The leading part of X = U·diag(S)·V of a matrix [m, n].
 *
 * @param u left singular vectors as columns, [m, k]
 * @param s singular values, largest first, [k]
 * @param v right singular vectors as rows, [k, n]
 */
public record Svd(Tensor u, Tensor s, Tensor v) {

  /** All min(m, n) triplets. */
  public static Svd exact(Tensor x) {
    var parts = linalg_svd(x, false, new StringViewOptional());
    return new Svd(parts.get0(), parts.get1(), parts.get2());
  }

  /**
   * The leading triplets by a randomised range finder with power iterations.
   *
   * @param x [m, n]
   * @param test normal draws, [min(m, n), k]; their number of columns says how many triplets
   * @param iterations power iterations; 4 is usual
   * @see <a href="https://arxiv.org/abs/0909.4061">Finding structure with randomness, algorithms
   *     4.4 and 5.1</a>
   */
  public static Svd lowRank(Tensor x, Tensor test, int iterations) {
    if (x.size(0) < x.size(1)) {
      Svd tall = lowRank(x.t(), test, iterations);
      return new Svd(tall.v.t(), tall.s, tall.u.t());
    }
    Tensor q = basis(x.matmul(test));
    for (int i = 0; i < iterations; i++) {
      q = basis(x.t().matmul(q));
      q = basis(x.matmul(q));
    }
    Svd small = exact(q.t().matmul(x));
    return new Svd(q.matmul(small.u), small.s, small.v);
  }

  private static Tensor basis(Tensor x) {
    return linalg_qr(x).get0();
  }
}
