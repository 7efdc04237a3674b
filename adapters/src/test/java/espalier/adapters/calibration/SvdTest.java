package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.pow;

import espalier.adapters.Tree;
import espalier.nn.Init;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SvdTest {

  private final Tree.Draw draw = new Tree.Draw(11);

  @ParameterizedTest
  @CsvSource({"9, 30", "30, 9", "12, 12"})
  void a_matrix_of_low_rank_is_found_whole(long m, long n) {
    Tensor x = draw.normal(m, 3).matmul(draw.normal(3, n));

    Svd svd = Svd.randomised(x, 5, 2, Init.shared(4));

    Tensor again = svd.u().mul(svd.s()).matmul(svd.vt());
    assertThat(again.allclose(x, 1e-4, 1e-4, false)).isTrue();
    assertThat(svd.s().narrow(0, 0, 3).allclose(Svd.of(x).s().narrow(0, 0, 3), 1e-4, 0, false))
        .isTrue();
  }

  @ParameterizedTest
  @CsvSource({"9, 30", "30, 9"})
  void the_exact_decomposition_has_as_many_triplets_as_the_smaller_side(long m, long n) {
    Tensor x = draw.normal(m, n);

    Svd svd = Svd.of(x);

    assertThat(svd.s().size(0)).isEqualTo(Math.min(m, n));
    assertThat(svd.u().mul(svd.s()).matmul(svd.vt()).allclose(x, 1e-4, 1e-4, false)).isTrue();
  }

  @ParameterizedTest
  @CsvSource({"20, 70", "70, 20", "30, 30"})
  void the_largest_triplets_are_those_of_the_whole_decomposition(long m, long n) {
    Tensor x = draw.normal(m, n);

    Svd some = Svd.largest(x, 5);

    Svd first = Svd.of(x).first(5);
    assertThat(some.s().allclose(first.s(), 1e-5, 0, false)).isTrue();
    assertThat(
            some.us().matmul(some.vt()).allclose(first.us().matmul(first.vt()), 1e-3, 1e-4, false))
        .isTrue();
  }

  @Test
  void triplets_that_the_squares_lose_are_orthonormal_all_the_same() {
    Tensor x = draw.normal(20, 3).matmul(draw.normal(3, 50)); // of rank 3

    Svd some = Svd.largest(x, 6);

    Tensor gram = some.vt().matmul(some.vt().t());
    assertThat(gram.allclose(eye(6), 1e-5, 1e-5, false)).isTrue();
  }

  @ParameterizedTest
  @CsvSource({"40, 90", "90, 40"})
  void the_random_subspace_is_the_same_by_the_gram_matrix(long m, long n) {
    Tensor falling = pow(new Scalar(0.8), arange(new Scalar(n)));
    Tensor x = draw.normal(m, n).mul(falling).to(ScalarType.Double);

    Svd plain = Svd.randomised(x, 12, 4, Init.shared(4));
    Svd gram = Svd.randomisedByGram(x, 12, 4, Init.shared(4));

    assertThat(gram.s().allclose(plain.s(), 1e-8, 0, false)).isTrue();
    assertThat(
            gram.us().matmul(gram.vt()).allclose(plain.us().matmul(plain.vt()), 1e-6, 1e-8, false))
        .isTrue();
  }

  @Test
  void thin_factors_and_the_dense_matrix_have_one_decomposition() {
    Tensor b = draw.normal(1, 40, 6);
    Tensor a = draw.normal(1, 6, 30);

    Svd thin = Svd.ofProduct(b, a).first(4);
    Svd dense = Svd.of(b.matmul(a)).first(4);

    Tensor product = dense.us().matmul(dense.vt());
    assertThat(thin.us().matmul(thin.vt()).allclose(product, 1e-5, 1e-5, false)).isTrue();
  }

  @Test
  void the_randomised_decomposition_loses_no_more_than_the_exact_one() {
    Tensor noise = draw.normal(1, 200, 300); // no gap anywhere: the hardest case

    Svd fast = Svd.leading(noise, 8).first(8);
    Svd exact = Svd.of(noise).first(8);

    double lost = noise.sub(fast.us().matmul(fast.vt())).norm().item_double();
    double least = noise.sub(exact.us().matmul(exact.vt())).norm().item_double();
    assertThat(lost / least).isBetween(0.99999, 1.0001);
  }
}
