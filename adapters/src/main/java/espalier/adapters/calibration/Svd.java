package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;

import espalier.nn.Init;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * Singular triplets of a matrix [m, n], largest first.
 *
 * @param u left vectors, [m, k]
 * @param s singular values, [k], not negative
 * @param vt right vectors, [k, n]
 */
public record Svd(Tensor u, Tensor s, Tensor vt) {

  /**
   * The smaller side up to which {@link #leading} decomposes exactly. Above, the few triplets that
   * are wanted are found in a small part of the time.
   */
  private static final long EXACT = 256;

  /** All min(m, n) triplets of a finite matrix. */
  public static Svd of(Tensor matrix) {
    var usv = linalg_svd(matrix, false, new StringViewOptional());
    return new Svd(usv.get0(), usv.get1(), usv.get2());
  }

  /**
   * The first triplets, nearly: those of the matrix as a random subspace sees it that power
   * iterations have turned towards the largest ones.
   *
   * @param count how many, at most min(m, n)
   * @param iterations power iterations, 0 or more
   * @param init draws min(m, n) x count normal numbers
   * @see <a href="https://arxiv.org/abs/0909.4061">Halko, Martinsson and Tropp, algorithms 4.4 and
   *     5.1</a>
   */
  public static Svd randomised(Tensor matrix, long count, int iterations, Init init) {
    boolean wide = matrix.size(0) < matrix.size(1);
    Tensor tall = wide ? matrix.t() : matrix;
    Tensor test = init.normal(1, tall.size(1), count).to(matrix.scalar_type().intern());
    Tensor basis = orthonormal(tall.matmul(test));
    for (int i = 0; i < iterations; i++) {
      basis = orthonormal(tall.matmul(orthonormal(tall.t().matmul(basis))));
    }
    Svd seen = of(basis.t().matmul(tall));
    Tensor u = basis.matmul(seen.u());
    return wide ? new Svd(seen.vt().t(), seen.s(), u.t()) : new Svd(u, seen.s(), seen.vt());
  }

  /**
   * The first triplets: exactly of a small matrix, nearly of a large one.
   *
   * @param count how many at least, or min(m, n) if that is less
   * @param iterations power iterations for a large matrix; 4 is usual
   * @param init draws min(m, n) x count normal numbers, also where they are not needed
   */
  public static Svd leading(Tensor matrix, long count, int iterations, Init init) {
    long smaller = Math.min(matrix.size(0), matrix.size(1));
    long some = Math.min(count, smaller);
    if (smaller > EXACT) {
      return randomised(matrix, some, iterations, init);
    }
    init.normal(1, smaller, some).close(); // so that what is drawn next does not depend on it
    return of(matrix);
  }

  /** Orthonormal columns that span the columns of a tall matrix. */
  private static Tensor orthonormal(Tensor columns) {
    return linalg_qr(columns).get0();
  }

  /** The first {@code count} triplets, or all if there are fewer. */
  public Svd first(long count) {
    long k = Math.min(count, s.size(0));
    return new Svd(u.narrow(1, 0, k), s.narrow(0, 0, k), vt.narrow(0, 0, k));
  }

  /** √s on the right vectors, [k, n]. */
  public Tensor rightHalf() {
    return vt.mul(s.sqrt().unsqueeze(1));
  }

  /** √s on the left vectors, [m, k]. */
  public Tensor leftHalf() {
    return u.mul(s.sqrt());
  }
}
