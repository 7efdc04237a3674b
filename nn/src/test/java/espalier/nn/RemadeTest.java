package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.silu;

import java.util.List;
import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

class RemadeTest {

  /** Two products that would each keep the activation of x. */
  private static Tensor twoReaders(Tensor h, Tensor first, Tensor second) {
    return kept(h, first).add(kept(h, second)).sum();
  }

  private static Tensor kept(Tensor h, Tensor factor) {
    return CustomFunction.apply(
        List.of(h, factor),
        List.of(h.view(-1), factor),
        () -> h.mul(factor),
        (g, saved) ->
            List.of(g.mul(saved.get(1)), g.mul(saved.getFirst().view(g.size(0), g.size(1)))));
  }

  @Test
  void a_value_that_is_computed_again_gives_the_same_gradients_and_is_not_kept() {
    try (var _ = Scope.open()) {
      Tensor x = randn(6, 4).set_requires_grad(true);
      Tensor first = randn(6, 4).set_requires_grad(true);
      Tensor second = randn(6, 4).set_requires_grad(true);
      List<Tensor> leaves = List.of(x, first, second);
      UnaryOperator<Tensor> reader = h -> twoReaders(h, first, second);

      List<Tensor> expected;
      long whole;
      try (var graph = Scope.graph()) {
        Tensor loss = reader.apply(silu(x));
        whole = graph.keptBytes(leaves);
        loss.backward();
        expected = gradients(leaves);
      }
      List<Tensor> actual;
      long spared;
      long after;
      try (var graph = Scope.graph()) {
        Tensor loss = Remade.during(silu(x), List.of(x), from -> silu(from.getFirst()), reader);
        spared = graph.keptBytes(leaves);
        loss.backward();
        after = graph.keptBytes(leaves);
        actual = gradients(leaves);
      }

      assertThat(whole).isEqualTo(6 * 4 * Float.BYTES);
      assertThat(spared).isZero();
      assertThat(after).isZero();
      for (int i = 0; i < leaves.size(); i++) {
        assertThat(torch.equal(actual.get(i), expected.get(i))).isTrue();
      }
    }
  }

  @Test
  void only_the_value_itself_is_computed_again_and_not_a_part_of_it() {
    try (var _ = Scope.open();
        var graph = Scope.graph()) {
      Tensor x = randn(6, 4).set_requires_grad(true);
      Tensor factor = randn(3, 4).set_requires_grad(true);

      Tensor loss =
          Remade.during(
              silu(x),
              List.of(x),
              from -> silu(from.getFirst()),
              h -> kept(h.narrow(0, 0, 3), factor).sum());

      assertThat(graph.keptBytes(List.of(x, factor))).isEqualTo(6 * 4 * Float.BYTES);
      loss.backward();
      assertThat(torch.allclose(new Tensor(factor.grad()), silu(x).narrow(0, 0, 3))).isTrue();
    }
  }

  private static List<Tensor> gradients(List<Tensor> leaves) {
    return leaves.stream()
        .map(
            leaf -> {
              Tensor gradient = Scope.own(leaf.grad());
              leaf.mutable_grad().reset();
              return gradient;
            })
        .toList();
  }
}
