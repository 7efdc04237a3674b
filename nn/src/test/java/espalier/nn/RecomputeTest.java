package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.randn;

import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class RecomputeTest {

  @Test
  void gradients_of_input_and_parameters_are_those_of_a_plain_run() {
    Tensor w = randn(4, 4).set_requires_grad(true);
    Tensor x = randn(3, 4).set_requires_grad(true);
    try (var _ = Scope.graph()) {
      x.matmul(w).tanh().matmul(w).sum().backward();
      Tensor wantW = w.grad().clone();
      Tensor wantX = x.grad().clone();
      w.mutable_grad().reset();
      x.mutable_grad().reset();

      Recompute.in(x, t -> t.matmul(w).tanh().matmul(w)).sum().backward();

      assertThat(w.grad().allclose(wantW, 1e-6, 1e-6, false)).isTrue();
      assertThat(x.grad().allclose(wantX, 1e-6, 1e-6, false)).isTrue();
    }
  }

  @Test
  void parameters_learn_also_where_the_input_is_frozen() {
    Tensor w = randn(4, 4).set_requires_grad(true);
    try (var _ = Scope.graph()) {
      Recompute.in(randn(3, 4), t -> t.matmul(w)).sum().backward();

      assertThat(w.grad().defined()).isTrue();
    }
  }

  @Test
  void dropout_draws_the_same_mask_again_and_the_stream_goes_on_as_if_run_once() {
    Tensor x = randn(50, 4).set_requires_grad(true);
    RandomState.seed(5);
    try (var _ = Scope.graph()) {
      Tensor y = Recompute.in(x, t -> dropout(t, 0.5, true));
      Tensor after = randn(2);
      y.sum().backward();
      Tensor later = randn(2);

      RandomState.seed(5);
      Tensor same = dropout(x.detach(), 0.5, true);

      assertThat(y.equal(same)).isTrue();
      assertThat(x.grad().equal(same.div(x.detach()).nan_to_num())).isTrue();
      assertThat(randn(2).equal(after)).isTrue();
      assertThat(randn(2).equal(later)).isTrue();
    }
  }
}
