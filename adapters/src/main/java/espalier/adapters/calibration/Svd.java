package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.linalg_eigh;
import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;
import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.nn.BlasThreads;
import espalier.nn.Init;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Singular triplets of a matrix [m, n] or of a batch of them, largest first.
 *
 * @param u left vectors, [..., m, k]
 * @param s singular values, [..., k], not negative
 * @param vt right vectors, [..., k, n]
 */
public record Svd(Tensor u, Tensor s, Tensor vt) {

  /** Up to this size the exact decomposition is the quicker one. */
  private static final long SMALL = 128;

  private static final int MOST_ROUNDS = 30;

  /** A round that finds less than this part of the energy more is the last one. */
  private static final double CONVERGED = 1e-7;

  /** From this part of the largest on an eigenvalue of a Gram matrix has an exact vector. */
  private static final double EXACT = 1e-10;

  /** Below this part of the largest an eigenvalue of a Gram matrix is nothing but rounding. */
  private static final double DROWNED = 1e-12;

  /** Up to this smaller side more threads take longer, or hardly less long. */
  private static final long ONE_THREAD = 1024;

  private static final long FIRST_GUESS = 16;
  private static final double NEARLY_ALL = 1 - 1e-5;

  /** All min(m, n) triplets of finite matrices. */
  public static Svd of(Tensor matrix) {
    // The parts are references into the triple, which dies on its own where no scope holds it.
    try (var _ = threads(matrix);
        var usv = linalg_svd(matrix, false, new StringViewOptional())) {
      return new Svd(new Tensor(usv.get0()), new Tensor(usv.get1()), new Tensor(usv.get2()));
    }
  }

  /**
   * The first triplets as {@link #randomised} finds them, by way of the smaller one of the two Gram
   * matrices, in float64: the same subspace for a fraction of the work where one side is small.
   * Directions below 10⁻⁶ of the first drown in the squares; their singular values are 0.
   */
  public static Svd randomisedByGram(Tensor matrix, long count, int iterations, Init init) {
    boolean wide = matrix.size(0) < matrix.size(1);
    Tensor start = normal(wide ? matrix.t() : matrix, count, init).to(ScalarType.Double);
    Tensor exact = matrix.to(ScalarType.Double);
    Tensor tall = wide ? exact.t() : exact; // [most, least]
    try (var _ = threads(tall)) {
      Tensor gram = tall.t().matmul(tall);
      Tensor basis = start;
      for (int i = 0; i < iterations; i++) {
        basis = orthonormal(gram.matmul(basis));
      }
      // tall·mixed has orthonormal columns
      Tensor seen = gram.matmul(basis);
      Tensor mixed = basis.matmul(whitening(basis.t().matmul(seen)));
      Tensor inside = mixed.t().matmul(gram); // [count, least], what the subspace sees of tall
      try (var eigen = linalg_eigh(inside.matmul(inside.t()), new BytePointer("L"))) {
        Tensor s = roots(eigen.get0());
        Tensor turned = eigen.get1().flip(1);
        Tensor broad = tall.matmul(mixed.matmul(turned)); // [most, count]
        Tensor narrow = turned.t().matmul(inside).div(divisor(s)); // [count, least]
        return wide ? new Svd(narrow.t(), s, broad.t()) : new Svd(broad, s, narrow);
      }
    }
  }

  /**
   * The largest {@code count} triplets of one matrix [m, n], by the eigenvectors of the smaller one
   * of its two Gram matrices in float64: as exact as float32 can tell, and quicker than {@link
   * #of}, most of all where one side is much the smaller. Where one of these singular values is so
   * small beside the first that its square drowns, {@link #of} finds them.
   */
  public static Svd largest(Tensor matrix, long count) {
    boolean wide = matrix.size(0) < matrix.size(1);
    Tensor exact = matrix.to(ScalarType.Double);
    Tensor rows = wide ? exact : exact.t(); // [least, most]
    long from = rows.size(0) - count;
    try (var _ = threads(rows);
        var eigen = linalg_eigh(rows.matmul(rows.t()), new BytePointer("L"))) {
      Tensor s = roots(eigen.get0().narrow(0, from, count));
      // waits for the device: once a matrix
      if (!(s.select(0, -1).square().item_double()
          > EXACT * s.select(0, 0).square().item_double())) {
        return of(matrix).first(count);
      }
      Tensor narrow = eigen.get1().narrow(1, from, count).flip(1); // [least, count]
      Tensor broad = narrow.t().matmul(rows).div(divisor(s)); // [count, most]
      Svd svd = wide ? new Svd(narrow, s, broad) : new Svd(broad.t(), s, narrow.t());
      ScalarType type = matrix.scalar_type().intern();
      return new Svd(svd.u.to(type), s.to(type), svd.vt.to(type));
    }
  }

  /** The roots of ascending eigenvalues, the largest first. */
  private static Tensor roots(Tensor ascending) {
    return ascending.flip(0).clamp_min(new Scalar(0.0)).sqrt();
  }

  /** Singular values to divide rows by, none of them 0. */
  private static Tensor divisor(Tensor s) {
    return s.clamp_min(new Scalar(Double.MIN_NORMAL)).unsqueeze(1);
  }

  /** T so that Tᵀ·H·T is the identity where H [k, k], positive, is not nearly singular. */
  private static Tensor whitening(Tensor h) {
    try (var eigen = linalg_eigh(h, new BytePointer("L"))) {
      Tensor values = eigen.get0();
      Tensor floor = values.narrow(0, values.size(0) - 1, 1).mul(new Scalar(DROWNED));
      return eigen.get1().mul(values.rsqrt().where(values.gt(floor), new Scalar(0.0)));
    }
  }

  /** Small matrices are decomposed on the calling thread. */
  private static @Nullable BlasThreads threads(Tensor matrix) {
    return Math.min(matrix.size(-2), matrix.size(-1)) <= ONE_THREAD ? BlasThreads.one() : null;
  }

  /**
   * The r triplets of a product B·A, from its thin factors alone: two thin QR and the decomposition
   * of the small core between them. Exact, in time linear in m and n.
   *
   * @param b [..., m, r]
   * @param a [..., r, n]
   */
  public static Svd ofProduct(Tensor b, Tensor a) {
    try (var _ = threads(b);
        var left = linalg_qr(b);
        var right = linalg_qr(a.transpose(-2, -1))) {
      Svd core = of(left.get1().matmul(right.get1().transpose(-2, -1)));
      return new Svd(
          left.get0().matmul(core.u), core.s, core.vt.matmul(right.get0().transpose(-2, -1)));
    }
  }

  /**
   * The largest {@code count} triplets of a matrix [..., m, n], and perhaps some more.
   *
   * <p>Small matrices, and counts that are not small beside the matrix, are decomposed exactly. Of
   * others the leading subspace is found by randomised subspace iteration with twice the count,
   * from a fixed start. It goes on until a round adds less than 10⁻⁷ of the energy that so many
   * triplets hold, so where singular values decay the result is exact in float32; where they are
   * all alike, it may hold less than the best approximation does by about that part a round.
   *
   * @see <a href="https://arxiv.org/abs/0909.4061">Halko, Martinsson and Tropp: Finding structure
   *     with randomness</a>
   */
  public static Svd leading(Tensor matrix, long count) {
    long least = Math.min(matrix.size(-2), matrix.size(-1));
    long width = 2 * count + 8;
    return least <= SMALL || 3 * width >= least ? of(matrix) : iterated(matrix, count, width);
  }

  /**
   * The fewest leading triplets of one matrix [m, n] whose squared singular values sum up to a part
   * of the sum of all; at least one.
   *
   * @param part in (0, 1]
   */
  public static Svd holding(Tensor matrix, double part) {
    Tensor whole = matrix.square().sum();
    for (long count = FIRST_GUESS; ; count *= 2) {
      // what a randomised decomposition leaves out would decide about parts this close to all
      Svd svd = part > NEARLY_ALL ? of(matrix) : leading(matrix, count);
      boolean all = svd.size() == Math.min(matrix.size(0), matrix.size(1));
      Tensor held = svd.s.square().cumsum(0);
      Tensor wanted = (all ? held.select(0, -1) : whole).mul(new Scalar(part));
      // waits for the device: once a guess
      long needed = held.lt(wanted).sum().item_long() + 1;
      if (all || needed <= count) {
        return svd.first(needed);
      }
    }
  }

  private static Svd iterated(Tensor matrix, long count, long width) {
    Tensor transposed = matrix.transpose(-2, -1);
    var generator = new GeneratorOptional(createCPUGenerator(0));
    Tensor start = empty(matrix.size(-1), width).normal_(0, 1, generator).to(matrix);
    Tensor q = orthonormal(matrix.matmul(start));
    Tensor p = q; // [..., n, width] from the first round on
    Tensor core = q;
    double energy = 0;
    for (int round = 0; round < MOST_ROUNDS; round++) {
      try (var _ = threads(q);
          var qr = linalg_qr(transposed.matmul(q))) {
        p = new Tensor(qr.get0());
        core = qr.get1().transpose(-2, -1); // the matrix is about q·core·pᵀ
      }
      // waits for the device: once a round
      double found = linalg_svdvals(core).narrow(-1, 0, count).square().sum().item_double();
      if (!(found - energy > CONVERGED * found)) { // written so that NaN ends it too
        break;
      }
      energy = found;
      if (round < MOST_ROUNDS - 1) {
        q = orthonormal(matrix.matmul(p));
      }
    }
    Svd small = of(core);
    return new Svd(q.matmul(small.u), small.s, small.vt.matmul(p.transpose(-2, -1)));
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
    try (var _ = threads(columns);
        var qr = linalg_qr(columns)) {
      return new Tensor(qr.get0());
    }
  }

  /** How many triplets there are of each matrix. */
  public long size() {
    return s.size(-1);
  }

  /** The first {@code count} triplets, or all if there are fewer. */
  public Svd first(long count) {
    long k = Math.min(count, size());
    return new Svd(u.narrow(-1, 0, k), s.narrow(-1, 0, k), vt.narrow(-2, 0, k));
  }

  /** s on the left vectors, [..., m, k]: with {@link #vt}, two factors of the matrix. */
  public Tensor us() {
    return u.mul(s.unsqueeze(-2));
  }

  /** √s on the right vectors, [..., k, n]. */
  public Tensor rightHalf() {
    return vt.mul(s.sqrt().unsqueeze(-1));
  }

  /** √s on the left vectors, [..., m, k]. */
  public Tensor leftHalf() {
    return u.mul(s.sqrt().unsqueeze(-2));
  }
}
