package espalier.adapters.hira;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.List;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The product that keeps no matrix, against the formula as autograd sees it, in float64. */
class HadamardTest {

  private static final long M = 24;
  private static final long N = 18;
  private static final long R = 4;

  private final Tree.Draw draw = new Tree.Draw(1);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Tensor leaf(long... shape) {
    return draw.normal(shape).to(ScalarType.Double).set_requires_grad(true);
  }

  private Linear linear(boolean transposed, boolean bias) {
    Tensor b = bias ? draw.normal(M).to(ScalarType.Double) : null;
    return transposed
        ? new TransposedLinear(draw.normal(N, M).to(ScalarType.Double), b)
        : new Linear(draw.normal(M, N).to(ScalarType.Double), b);
  }

  static void assertNear(Tensor ours, Tensor expected, double most) {
    assertThat(ours.sub(expected).abs().max().item_double()).isLessThan(most);
  }

  static void assertClose(Tensor ours, Tensor expected) {
    double largest = expected.abs().max().item_double();
    assertThat(ours.sub(expected).abs().max().item_double() / largest).isLessThan(1e-10);
  }

  private static void assertSameGradients(List<Tensor> leaves, Tensor ours, Tensor expected) {
    Tensor g =
        new Tree.Draw(2).normal(ours.size(0), ours.size(1)).to(ScalarType.Double).view_as(ours);
    ours.mul(g).sum().backward();
    List<Tensor> own = leaves.stream().map(l -> l.grad().clone()).toList();
    leaves.forEach(l -> l.mutable_grad().zero_());
    expected.mul(g).sum().backward();

    assertClose(ours, expected);
    for (int i = 0; i < own.size(); i++) {
      assertClose(own.get(i), leaves.get(i).grad());
    }
  }

  static Stream<Arguments> blocks() {
    return Stream.of(true, false)
        .flatMap(
            transposed ->
                Stream.of(true, false)
                    .flatMap(
                        bias ->
                            Stream.of(1L, 7 * N, 1L << 20)
                                .map(block -> Arguments.of(transposed, bias, block))));
  }

  @ParameterizedTest
  @MethodSource("blocks")
  void base_and_branch_in_one_product_are_the_plain_formula(
      boolean transposed, boolean bias, long block) {
    Linear layer = linear(transposed, bias);
    Tensor x = leaf(10, N);
    Tensor p = leaf(M, R);
    Tensor q = leaf(R, N);

    Tensor ours = new Hadamard(layer, true, block).apply(x, p, q);

    assertSameGradients(List.of(x, p, q), ours, Hadamard.plain(layer, x, p, q));
  }

  @ParameterizedTest
  @MethodSource("blocks")
  void the_branch_alone_is_the_plain_formula_without_the_base(
      boolean transposed, boolean bias, long block) {
    Linear layer = linear(transposed, bias);
    Tensor x = leaf(10, N);
    Tensor p = leaf(M, R);
    Tensor q = leaf(R, N);

    Tensor ours = new Hadamard(layer, false, block).apply(x, p, q);
    Tensor expected = x.matmul(layer.weight().mul(p.matmul(q)).t());

    assertSameGradients(List.of(x, p, q), ours, expected);
  }

  @Test
  void a_factor_that_is_frozen_gets_no_gradient_and_the_others_theirs() {
    Linear layer = linear(false, true);
    Tensor x = draw.normal(10, N).to(ScalarType.Double);
    Tensor p = draw.normal(M, R).to(ScalarType.Double);
    Tensor q = leaf(R, N);

    Hadamard.whole(layer, x, p, q).sum().backward();
    Tensor ours = q.grad().clone();
    q.mutable_grad().zero_();
    Hadamard.plain(layer, x, p, q).sum().backward();

    assertClose(ours, q.grad());
    assertThat(x.grad().defined()).isFalse();
    assertThat(p.grad().defined()).isFalse();
  }

  @Test
  void leading_dimensions_are_kept() {
    Linear layer = linear(false, true);
    Tensor x = leaf(2, 5, N);
    Tensor p = leaf(M, R);
    Tensor q = leaf(R, N);

    Tensor y = Hadamard.whole(layer, x, p, q);
    y.sum().backward();

    assertClose(y, Hadamard.plain(layer, x, p, q));
    assertThat(x.grad().dim()).isEqualTo(3);
  }

  @Test
  void one_token_takes_the_short_way_to_the_same_numbers() {
    for (boolean bias : new boolean[] {true, false}) {
      Linear layer = linear(false, bias);
      Tensor x = leaf(1, 1, N);
      Tensor p = leaf(M, R);
      Tensor q = leaf(R, N);

      try (var _ = new NoGradGuard()) {
        assertClose(Hadamard.whole(layer, x, p, q), Hadamard.plain(layer, x, p, q));
        assertClose(
            Hadamard.branch(layer, x, p, q), Hadamard.plain(layer, x, p, q).sub(layer.base(x)));
      }
    }
  }

  @Test
  void a_young_factor_is_not_lost_in_half_precision() {
    // 1 + M is 1 in bfloat16 for M below 2⁻⁹, so a fused weight would not see this factor
    Linear layer = new Linear(draw.normal(M, N).to(ScalarType.BFloat16), null);
    Tensor x = draw.normal(6, N).to(ScalarType.BFloat16);
    Tensor p = draw.normal(M, R).mul(new Scalar(1e-3));
    Tensor q = draw.normal(R, N).mul(new Scalar(0.1));

    Tensor branch = Hadamard.branch(layer, x, p, q).to(ScalarType.Double);

    Tensor wide = layer.weight().to(ScalarType.Double);
    Tensor m = p.to(ScalarType.Double).matmul(q.to(ScalarType.Double));
    Tensor expected = x.to(ScalarType.Double).matmul(wide.mul(m).t());
    double largest = expected.abs().max().item_double();
    assertThat(m.abs().max().item_double()).isLessThan(Math.pow(2, -9));
    assertThat(branch.sub(expected).abs().max().item_double() / largest).isLessThan(1e-2);
  }

  @Test
  void gradients_in_half_precision_are_near_to_those_in_float64() {
    Linear half = new Linear(draw.normal(M, N).to(ScalarType.BFloat16), null);
    Linear full = new Linear(half.weight().to(ScalarType.Double), null);
    Tensor x = draw.normal(10, N).to(ScalarType.BFloat16).set_requires_grad(true);
    Tensor p = draw.normal(M, R).set_requires_grad(true);
    Tensor q = draw.normal(R, N).set_requires_grad(true);
    Tensor xx = x.detach().to(ScalarType.Double).set_requires_grad(true);
    Tensor pp = p.detach().to(ScalarType.Double).set_requires_grad(true);
    Tensor qq = q.detach().to(ScalarType.Double).set_requires_grad(true);

    Hadamard.whole(half, x, p, q).sum().backward();
    Hadamard.plain(full, xx, pp, qq).sum().backward();

    assertNear(x.grad(), xx.grad());
    assertNear(p.grad(), pp.grad());
    assertNear(q.grad(), qq.grad());
    assertThat(p.grad().scalar_type().intern()).isEqualTo(ScalarType.Float);
    assertThat(x.grad().scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
  }

  private static void assertNear(Tensor ours, Tensor expected) {
    double largest = expected.abs().max().item_double();
    Tensor gap = ours.to(ScalarType.Double).sub(expected).abs().max();
    assertThat(gap.item_double() / largest).isLessThan(2e-2);
  }
}
