package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Tree;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;
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
}
