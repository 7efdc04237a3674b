package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;

import espalier.nn.Init;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Singular triplets of a matrix [m, n], largest first.
 *
 * @param u left vectors, [m, k]
 * @param s singular values, [k], not negative
 * @param vt right vectors, [k, n]
 */
public record Svd(Tensor u, Tensor s, Tensor vt) {

  /** All min(m, n) triplets of a finite matrix. */
  public static Svd of(Tensor matrix) {
    // The parts are references into the triple, which dies on its own where no scope holds it.
    try (var usv = linalg_svd(matrix, false, new StringViewOptional())) {
      return new Svd(new Tensor(usv.get0()), new Tensor(usv.get1()), new Tensor(usv.get2()));
    }
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
    Tensor basis = orthonormal(tall.matmul(normal(tall, count, init)));
    for (int i = 0; i < iterations; i++) {
      basis = orthonormal(tall.matmul(orthonormal(tall.t().matmul(basis))));
    }
    Svd seen = of(basis.t().matmul(tall));
    Tensor u = basis.matmul(seen.u());
    return wide ? new Svd(seen.vt().t(), seen.s(), u.t()) : new Svd(u, seen.s(), seen.vt());
  }

  /** Drawn in the matrix's dtype: numbers drawn as float64 are others than those as float32. */
  private static Tensor normal(Tensor tall, long count, Init init) {
    return tall.scalar_type().intern() == ScalarType.Double && !init.isBlank()
        ? tall.new_empty(tall.size(1), count).normal_(0, 1, new GeneratorOptional(init.generator()))
        : init.normal(1, tall.size(1), count);
  }

  /** Orthonormal columns that span the columns of a tall matrix. */
  private static Tensor orthonormal(Tensor columns) {
    try (var qr = linalg_qr(columns)) {
      return new Tensor(qr.get0());
    }
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
