package espalier.adapters.hirasb;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_qr;
import static org.bytedeco.pytorch.global.torch.linalg_svd;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.stack;

import espalier.adapters.Tree;
import espalier.nn.Init;
import espalier.nn.Scope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.StringViewOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The seven theorems of HiRA-SB and the bases that they are about, in float64. */
class BasesTest {

  private static final int M = 24;
  private static final int N = 18;
  private static final int R = 4;

  private final Tree.Draw draw = new Tree.Draw(21);
  private Scope scope = Scope.open();
  private Tensor w = new Tensor();
  private Tensor g = new Tensor();
  private Bases any = new Bases(w, w);

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
    w = wide(M, N);
    g = wide(M, N);
    any = new Bases(wide(M, R), wide(R, N));
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private Tensor wide(long... shape) {
    return draw.normal(shape).to(ScalarType.Double);
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).norm().item_double() / Math.max(1e-30, b.norm().item_double());
  }

  private static double dot(Tensor a, Tensor b) {
    return a.mul(b).sum().item_double();
  }

  private static double cosine(Tensor a, Tensor b) {
    return dot(a, b) / (a.norm().item_double() * b.norm().item_double());
  }

  /** The X that is best, by K. */
  private static Tensor best(Tensor w, Bases bases, Tensor d) {
    return Gram.of(w, bases, 0).solve(bases.gradient(w, d));
  }

  private static Tensor projection(Tensor w, Bases bases, Tensor d) {
    return bases.update(w, best(w, bases, d));
  }

  /** What each entry of X moves the weight by, as columns [m · n, r²]. */
  private static Tensor jacobian(Tensor w, Bases bases) {
    long r = bases.a().size(0);
    var columns = new TensorVector();
    for (long k = 0; k < r; k++) {
      for (long l = 0; l < r; l++) {
        Tensor x = w.new_zeros(r, r);
        x.select(0, k).select(0, l).fill_(new Scalar(1));
        columns.push_back(bases.update(w, x).reshape(-1));
      }
    }
    return stack(columns, 1);
  }

  private static Tensor identity(Tensor like) {
    return eye(like.size(0), like.options());
  }

  private Tensor rankOneSquares() {
    Tensor rows = wide(M, 1).abs().add(new Scalar(0.1));
    Tensor columns = wide(1, N).abs().add(new Scalar(0.1));
    return rows.mul(columns).mul(wide(M, N).sign());
  }

  @Test
  void the_gram_matrix_is_that_of_the_dense_jacobian() {
    Tensor j = jacobian(w, any);

    Tensor k = Gram.matrix(w, any);

    assertThat(gap(k, j.t().mm(j))).isLessThan(1e-13);
  }

  @Test
  void theorem_1_the_preconditioned_step_is_the_orthogonal_projection_of_the_gradient() {
    Tensor j = jacobian(w, any);
    Tensor least = torch.linalg_lstsq(j, g.reshape(-1, 1)).get0();

    Tensor x = best(w, any, g);
    Tensor step = any.update(w, x);

    assertThat(gap(x.reshape(-1, 1), least)).isLessThan(1e-9);
    assertThat(any.gradient(w, g.sub(step)).abs().max().item_double()).isLessThan(1e-9);
    assertThat(dot(step, g)).isCloseTo(dot(step, step), within(1e-8));
    double distance = step.sub(g).norm().item_double();
    double captured = cosine(step, g);
    for (int i = 0; i < 20; i++) {
      Tensor other = any.update(w, x.add(wide(R, R), new Scalar(0.1)));
      assertThat(other.sub(g).norm().item_double()).isGreaterThan(distance);
      assertThat(cosine(other, g)).isLessThan(captured);
    }
  }

  @Test
  void theorem_2_the_projection_depends_on_the_spans_of_the_bases_alone() {
    var other = new Bases(any.b().mm(wide(R, R)), wide(R, R).mm(any.a()));

    assertThat(gap(projection(w, other, g), projection(w, any, g))).isLessThan(1e-9);
  }

  @Test
  void theorem_3_the_plain_step_goes_down_and_is_no_further_off_than_kantorovich_allows() {
    for (int i = 0; i < 10; i++) {
      var bases = new Bases(wide(M, R), wide(R, N));
      Tensor full = wide(M, N);
      Tensor plain = bases.update(w, bases.gradient(w, full));
      Tensor values = torch.linalg_eigvalsh(Gram.matrix(w, bases));
      double kappa = values.max().item_double() / values.min().item_double();

      double bound = 2 * Math.sqrt(kappa) / (kappa + 1) * cosine(projection(w, bases, full), full);

      assertThat(cosine(plain, full)).isGreaterThanOrEqualTo(bound).isPositive();
      assertThat(cosine(plain, full)).isLessThan(cosine(projection(w, bases, full), full));
    }
  }

  @Test
  void theorem_3_without_a_weight_and_with_orthonormal_bases_no_preconditioner_is_needed() {
    Tensor one = ones(new long[] {M, N}, w.options());
    var bases =
        new Bases(linalg_qr(wide(M, R)).get0(), linalg_qr(wide(N, R)).get0().t().contiguous());

    Tensor k = Gram.matrix(one, bases);

    assertThat(gap(k, identity(k))).isLessThan(1e-13);
    assertThat(gap(bases.update(one, bases.gradient(one, g)), projection(one, bases, g)))
        .isLessThan(1e-12);
  }

  @Test
  void theorem_4_a_plain_step_in_whitened_coordinates_is_the_projected_step() {
    double s = 3;
    var gram = Gram.of(w, any, 0);
    Tensor z = wide(R, R).set_requires_grad(true);

    any.update(w, gram.plain(z, s)).mul(new Scalar(s)).mul(g).sum().backward();

    Tensor moved = any.update(w, gram.plain(z.grad(), s)).mul(new Scalar(s));
    assertThat(gap(moved, projection(w, any, g))).isLessThan(1e-9);
    assertThat(gap(gram.whitened(gram.plain(z, s), s), z)).isLessThan(1e-12);
  }

  @Test
  void theorem_5_where_the_squares_have_rank_one_balanced_bases_have_the_gram_matrix_one() {
    Tensor special = rankOneSquares();
    Bases bases = any.balanced(Weighting.of(special));
    Tensor x = wide(R, R);

    Tensor k = Gram.matrix(special, bases);

    assertThat(gap(k, identity(k))).isLessThan(1e-12);
    assertThat(bases.update(special, x).norm().item_double())
        .isCloseTo(x.norm().item_double(), within(1e-11));
  }

  @Test
  void theorem_6_the_scale_of_the_weight_does_not_matter() {
    Bases bases = Bases.of(Weighting.of(w), g, R, 2, Init.shared(1));
    Tensor large = w.mul(new Scalar(37));

    Bases other = Bases.of(Weighting.of(large), g, R, 2, Init.shared(1));

    assertThat(gap(projection(large, other, g), projection(w, bases, g))).isLessThan(1e-10);
    assertThat(gap(Gram.matrix(large, other), Gram.matrix(w, bases))).isLessThan(1e-9);
    assertThat(gap(other.b().mul(new Scalar(Math.sqrt(37))), bases.b())).isLessThan(1e-9);
  }

  @Test
  void theorem_6_sign_flips_and_permutations_carry_through() {
    Tensor flips = wide(M, 1).sign().mul(wide(1, N).sign());
    Tensor rows = torch.randperm(M);
    Tensor columns = torch.randperm(N);
    Bases bases = Bases.of(Weighting.of(w), g, R, 2, Init.shared(1));

    Tensor otherW = w.mul(flips).index_select(0, rows).index_select(1, columns);
    Tensor otherG = g.mul(flips).index_select(0, rows).index_select(1, columns);
    Bases other = Bases.of(Weighting.of(otherW), otherG, R, 2, Init.shared(1));

    Tensor carried =
        projection(w, bases, g).mul(flips).index_select(0, rows).index_select(1, columns);
    assertThat(gap(projection(otherW, other, otherG), carried)).isLessThan(1e-9);
  }

  @Test
  void theorem_7_where_the_squares_have_rank_one_the_balanced_svd_is_the_best_of_all() {
    Tensor special = rankOneSquares();
    Bases bases = Bases.of(Weighting.of(special), g, R, 0, Init.shared(1));

    double error = projection(special, bases, g).sub(g).square().sum().item_double();

    // Eckart-Young on the signed update, from which the problem differs by signs alone
    Tensor singular = linalg_svd(special.sign().mul(g), false, new StringViewOptional()).get1();
    double tail = singular.narrow(0, R, N - R).square().sum().item_double();
    assertThat(error).isCloseTo(tail, within(1e-9 * tail));
  }

  @Test
  void balancing_keeps_the_spans() {
    var weighting = Weighting.of(w);

    Bases balanced = any.balanced(weighting);

    Tensor left = balanced.b().mul(weighting.rows());
    Tensor right = balanced.a().mul(weighting.columns());
    assertThat(gap(left.t().mm(left), eye(R, w.options()))).isLessThan(1e-12);
    assertThat(gap(right.mm(right.t()), eye(R, w.options()))).isLessThan(1e-12);
    assertThat(gap(projection(w, balanced, g), projection(w, any, g))).isLessThan(1e-9);
  }

  @Test
  void rows_and_columns_of_tiny_weights_are_not_amplified_by_more_than_a_hundred() {
    w.select(0, 3).zero_();
    w.select(0, 4).mul_(new Scalar(1e-9));
    w.select(1, 5).zero_();

    var weighting = Weighting.of(w);
    Bases bases = Bases.of(weighting, g.sign(), R, 2, Init.shared(1));

    Tensor mean = weighting.rows().square().mean().sqrt();
    assertThat(weighting.rows().min().div(mean).item_double())
        .isCloseTo(0.01, within(1e-6)); // the floor is taken of the sums before it
    assertThat(bases.update(w, wide(R, R)).select(0, 3).abs().max().item_double()).isZero();
    assertThat(bases.b().isfinite().all().item_bool()).isTrue();
    assertThat(bases.b().select(0, 3).abs().max().item_double()).isLessThan(1e-9);
    assertThat(bases.a().select(1, 5).abs().max().item_double()).isLessThan(1e-9);
  }

  @Test
  void sweeps_capture_more_and_more() {
    var weighting = Weighting.of(w);
    double before = 0;
    for (int sweeps : new int[] {0, 1, 2, 4, 8}) {
      Bases bases = Bases.of(weighting, g, R, sweeps, Init.shared(1));
      double captured = cosine(projection(w, bases, g), g);

      assertThat(captured).as("%d sweeps", sweeps).isGreaterThan(before - 1e-4);
      before = captured;
    }
    Bases none = Bases.of(weighting, g, R, 0, Init.shared(1));
    assertThat(before).isGreaterThan(cosine(projection(w, none, g), g) + 0.05);
  }

  @Test
  void row_blocks_give_the_same_bases() {
    var weighting = Weighting.of(w);
    Bases whole = Bases.of(weighting, g, R, 2, Init.shared(1));

    Bases blocks = Bases.of(weighting, g, R, 2, Init.shared(1), 7L * R * R);

    assertThat(gap(blocks.update(w, wideOnes()), whole.update(w, wideOnes()))).isLessThan(1e-12);
  }

  private Tensor wideOnes() {
    return ones(new long[] {R, R}, w.options());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void a_large_matrix_is_decomposed_at_random_and_as_well(boolean upright) {
    int r = 3;
    Tensor normal = upright ? wide(80, 60) : wide(60, 80);
    Tensor weight = normal.abs().add(new Scalar(0.5)).mul(normal.sign());
    // singular values that fall by a half each, so that the first three are well apart
    Tensor balanced = weight.new_zeros(weight.shape());
    for (int i = 0; i < 12; i++) {
      Tensor rows = wide(weight.size(0), 1);
      balanced.add_(rows.mm(wide(1, weight.size(1))), new Scalar(Math.pow(0.5, i)));
    }
    var weighting = Weighting.of(weight);
    Tensor update = balanced.mul(weighting.rows()).mul(weighting.columns()).div(weight);

    Bases bases = Bases.of(weighting, update, r, 0, Init.shared(1));
    Bases again = Bases.of(weighting, update, r, 0, Init.shared(2));

    Tensor u = linalg_svd(balanced, false, new StringViewOptional()).get0().narrow(1, 0, r);
    Tensor got = bases.b().mul(weighting.rows());
    assertThat(gap(got.mm(got.t()), u.mm(u.t()))).isLessThan(1e-4);
    assertThat(gap(projection(weight, again, update), projection(weight, bases, update)))
        .isLessThan(1e-3);
    assertThat(Bases.of(weighting, update, r, 0, Init.shared(1)).b().equal(bases.b())).isTrue();
  }

  @Test
  void rounded_bases_are_what_a_file_of_half_the_size_holds() {
    Bases rounded = any.rounded(BasisDtype.BFLOAT16);

    Tensor stored = BasisDtype.BFLOAT16.stored(rounded.b());

    assertThat(stored.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
    assertThat(stored.to(ScalarType.Double).equal(rounded.b())).isTrue();
    assertThat(any.rounded(BasisDtype.FLOAT32).b().equal(any.b())).isTrue();
  }

  @Test
  void conjugate_gradients_find_what_the_gram_matrix_gives() {
    Bases bases = Bases.of(Weighting.of(w), g.sign(), R, 2, Init.shared(1));
    Tensor right = bases.gradient(w, g.sign());

    Tensor x = HiraSbStart.conjugate(w, bases, right);

    assertThat(gap(x, Gram.of(w, bases, 0).solve(right))).isLessThan(1e-6);
  }
}
