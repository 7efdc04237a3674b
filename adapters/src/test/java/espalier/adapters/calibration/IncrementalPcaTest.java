package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.pow;

import espalier.adapters.ConfigException;
import espalier.adapters.Tree;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class IncrementalPcaTest {

  private final Tree.Draw draw = new Tree.Draw(5);

  /** Rows whose variance falls by a factor from direction to direction. */
  private Tensor rows(long n, long f, double factor) {
    Tensor basis = Svd.of(draw.normal(f, f)).u();
    Tensor falling = pow(new Scalar(factor), torch.arange(new Scalar(f)));
    return draw.normal(n, f).mul(falling).matmul(basis.t()).add(new Scalar(0.7));
  }

  private static double subspaceError(Tensor a, Tensor b) {
    return a.t().matmul(a).sub(b.t().matmul(b)).norm().item_double();
  }

  @ParameterizedTest
  @CsvSource({"120, 24", "900, 300"}) // exact, randomised
  void batches_give_the_leading_components_of_all_rows_together(long n, long f) {
    Tensor all = rows(n, f, 0.1);
    Svd full = Svd.of(all.sub(all.mean(0)));

    try (var pca = new IncrementalPca(4)) {
      for (int i = 0; i < 3; i++) {
        pca.add(all.narrow(0, i * n / 3, n / 3));
      }

      assertThat(subspaceError(pca.components(), full.vt().narrow(0, 0, 4))).isLessThan(1e-3);
      Tensor want = full.s().narrow(0, 0, 4);
      assertThat(pca.singularValues().allclose(want, 1e-3, 0, false)).isTrue();
      assertThat(pca.mean().allclose(all.mean(0).to(torch.ScalarType.Double), 1e-5, 1e-6, false))
          .isTrue();
      Tensor variance = all.var(new long[] {0}, false).to(torch.ScalarType.Double);
      assertThat(pca.variance().allclose(variance, 1e-4, 1e-8, false)).isTrue();
      assertThat(pca.rows()).isEqualTo(n);
    }
  }

  @Test
  void components_are_orthonormal_and_their_largest_entry_is_positive() {
    try (var pca = new IncrementalPca(5)) {
      pca.add(rows(40, 12, 0.7));
      pca.add(rows(40, 12, 0.7));

      Tensor k = pca.components();
      assertThat(k.matmul(k.t()).allclose(eye(5), 1e-5, 1e-5, false)).isTrue();
      Tensor largest = k.gather(1, k.abs().argmax(new org.bytedeco.pytorch.LongOptional(1), true));
      assertThat(largest.min().item_float()).isPositive();
    }
  }

  @Test
  void explained_ratios_fall_and_sum_to_one_over_all_components() {
    try (var pca = new IncrementalPca(6)) {
      pca.add(rows(50, 6, 0.5));

      assertThat(pca.explainedRatio().sum().item_float()).isCloseTo(1f, within(1e-5f));
      assertThat(pca.explainedRatio().diff().max().item_float()).isNegative();
    }
  }

  @Test
  void rows_that_are_all_alike_explain_nothing() {
    try (var pca = new IncrementalPca(2)) {
      pca.add(draw.normal(1, 6).repeat(8, 1));
      pca.add(pca.mean().to(torch.ScalarType.Float).repeat(8, 1));

      assertThat(pca.explainedRatio().isfinite().all().item_bool()).isTrue();
      assertThat(pca.variance().lt(new Scalar(0)).any().item_bool()).isFalse();
    }
  }

  @Test
  void constant_zeros_explain_exactly_nothing() {
    try (var pca = new IncrementalPca(2)) {
      pca.add(torch.zeros(8, 6));

      assertThat(pca.explainedRatio().equal(torch.zeros(2))).isTrue();
    }
  }

  @Test
  void a_batch_with_fewer_rows_than_components_is_refused() {
    try (var pca = new IncrementalPca(5)) {
      assertThatThrownBy(() -> pca.add(draw.normal(4, 9)))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "5 principal components are asked for but the batch has 4 rows; take larger batches,"
                  + " or lower r or rho");
    }
  }

  @Test
  void more_components_than_features_are_refused() {
    try (var pca = new IncrementalPca(5)) {
      assertThatThrownBy(() -> pca.add(draw.normal(9, 4)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("the inputs have 4 features");
    }
  }
}
