package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.rand;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class CustomFunctionTest {

  private static Tensor leaf(long... shape) {
    return randn(shape).set_requires_grad(true);
  }

  private static Tensor product(Tensor a, Tensor b) {
    return CustomFunction.apply(
        List.of(a, b),
        List.of(a, b),
        () -> a.mul(b),
        (g, saved) -> List.of(g.mul(saved.get(1)), g.mul(saved.get(0))));
  }

  @Test
  void its_gradients_are_those_of_autograd_through_leaves_and_inner_nodes() {
    try (var _ = Scope.graph()) {
      Tensor a = leaf(3, 4);
      Tensor b = leaf(3, 4);

      product(product(a, b).sin(), a).sum().backward();
      Tensor ours = a.grad().clone();
      Tensor oursB = b.grad().clone();
      a.mutable_grad().zero_();
      b.mutable_grad().zero_();
      a.mul(b).sin().mul(a).sum().backward();

      assertThat(ours.allclose(a.grad())).isTrue();
      assertThat(oursB.allclose(b.grad())).isTrue();
    }
  }

  @Test
  void outside_of_a_graph_scope_it_is_refused_with_the_way_to_mend_it() {
    Tensor a = leaf(2);
    Tensor b = leaf(2);

    assertThatThrownBy(() -> product(a, b))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("Scope.graph()");
  }

  @Test
  void without_a_needed_gradient_nothing_is_kept() {
    Tensor y = product(rand(2), rand(2));

    assertThat(y.requires_grad()).isFalse();
  }

  @Test
  void an_error_in_a_backward_reaches_the_caller() {
    try (var _ = Scope.graph()) {
      Tensor a = leaf(2);
      Tensor y =
          CustomFunction.apply(
              List.of(a),
              List.of(a),
              () -> a.mul(a),
              (g, saved) -> {
                throw new IllegalStateException("no way back");
              });

      assertThatThrownBy(() -> y.sum().backward()).hasMessageContaining("no way back");
    }
  }

  @Test
  void a_gradient_is_let_go_as_soon_as_the_next_backward_has_used_it() {
    var answers = new ArrayList<Tensor>();
    var holders = new ArrayList<Long>();
    UnaryOperator<Tensor> doubled =
        x ->
            CustomFunction.apply(
                List.of(x),
                List.of(),
                () -> x.mul(new Scalar(2)),
                (g, saved) -> {
                  holders.clear();
                  answers.forEach(answer -> holders.add(answer.use_count()));
                  Tensor answer = g.mul(new Scalar(2));
                  answers.add(Scope.own(answer));
                  return List.of(answer);
                });
    try (var _ = Scope.graph()) {
      Tensor x = leaf(3);

      doubled.apply(doubled.apply(doubled.apply(doubled.apply(x)))).sum().backward();

      assertThat(holders).hasSize(3).startsWith(1L, 1L); // ours; the last one is being used
      assertThat(x.grad().sum().item_float()).isEqualTo(3 * 16f);
    } finally {
      answers.forEach(Tensor::close);
    }
  }

  @Test
  void many_graphs_with_and_without_a_backward_leave_no_handles_behind() {
    for (int i = 0; i < 20; i++) {
      step(i % 2 == 0);
    }
    System.gc();
    long before = Pointer.totalBytes();

    for (int i = 0; i < 300; i++) {
      step(i % 3 != 0);
    }
    System.gc();

    assertThat(Pointer.totalBytes()).isLessThan(before + 100_000);
  }

  private static void step(boolean backward) {
    try (var _ = Scope.graph()) {
      Tensor a = leaf(64, 64);
      Tensor b = leaf(64, 64);
      Tensor y = product(product(a, b), b).sum();
      if (backward) {
        y.backward();
      }
    }
  }
}
