package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class MultiheadAttentionTest {

  private static Map<String, Tensor> weights() {
    return Map.of(
        "in_proj_weight", randn(new long[] {18, 6}),
        "in_proj_bias", randn(new long[] {18}),
        "out_proj.weight", randn(new long[] {6, 6}),
        "out_proj.bias", randn(new long[] {6}));
  }

  @Test
  void each_head_mixes_values_by_the_softmax_of_its_scores() {
    try (var _ = Scope.open()) {
      var weights = weights();
      Tensor x = randn(new long[] {2, 5, 6});
      try (var attention = new MultiheadAttention(weights::get, 2)) {
        Tensor all = attention.packed().forward(x);
        Tensor want = x.new_zeros(x.sizes());
        for (long head = 0; head < 2; head++) {
          Tensor q = all.narrow(-1, 3 * head, 3);
          Tensor k = all.narrow(-1, 6 + 3 * head, 3);
          Tensor v = all.narrow(-1, 12 + 3 * head, 3);
          Tensor scores = q.matmul(k.transpose(1, 2)).div(new Scalar(Math.sqrt(3))).softmax(-1);
          want.narrow(-1, 3 * head, 3).copy_(scores.matmul(v));
        }

        Tensor y = attention.forward(x);

        assertThat(y.allclose(attention.output().forward(want), 1e-5, 1e-5, false)).isTrue();
        assertThat(attention.forward(x, x, new AttentionMask.Full()).allclose(y, 1e-5, 1e-5, false))
            .isTrue();
      }
    }
  }

  @Test
  void its_parameters_have_the_names_of_the_checkpoint() {
    try (var _ = Scope.open();
        var attention = new MultiheadAttention(weights()::get, 3)) {
      assertThat(attention.namedParameters())
          .containsOnlyKeys("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias");
      assertThat(attention.packed().partners()).containsExactly("out_proj");
    }
  }

  @Test
  void widths_that_do_not_fit_are_refused() {
    try (var _ = Scope.open()) {
      var weights = weights();
      assertThatThrownBy(() -> new MultiheadAttention(weights::get, 4))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("the width 6 can not be divided by 4 heads; choose a divisor");
    }
  }
}
