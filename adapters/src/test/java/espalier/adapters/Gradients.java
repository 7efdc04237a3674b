package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.nn.BranchProduct;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A branch with a backward by hand beside the formula that autograd derives itself, in float64. */
public final class Gradients {

  private Gradients() {}

  /** A leaf that wants a gradient, float64. */
  public static Tensor leaf(Tree.Draw draw, long... shape) {
    return draw.normal(shape).to(ScalarType.Double).set_requires_grad(true);
  }

  /**
   * Compares output and all gradients.
   *
   * @param update the update [out, in] from the factors
   */
  public static void assertSame(
      long out,
      long in,
      long tokens,
      List<Tensor> factors,
      BranchProduct.Branch branch,
      Function<List<Tensor>, Tensor> update) {
    var draw = new Tree.Draw(3);
    var layer =
        new Linear(
            draw.normal(out, in).to(ScalarType.Double), draw.normal(out).to(ScalarType.Double));
    Tensor x = leaf(draw, tokens, in);
    Tensor g = draw.normal(tokens, out).to(ScalarType.Double);
    var leaves = new ArrayList<>(factors);
    leaves.add(x);

    Tensor ours = BranchProduct.whole(layer, x, factors, branch);
    ours.mul(g).sum().backward();
    List<Tensor> own = leaves.stream().map(l -> l.grad().clone()).toList();
    leaves.forEach(l -> l.mutable_grad().zero_());
    Tensor expected = layer.base(x).add(x.matmul(update.apply(factors).t()));
    expected.mul(g).sum().backward();

    assertClose(ours, expected);
    for (int i = 0; i < own.size(); i++) {
      assertClose(own.get(i), leaves.get(i).grad());
    }
  }

  private static void assertClose(Tensor ours, Tensor expected) {
    double gap = ours.sub(expected).abs().max().item_double();
    assertThat(gap / Math.max(1, expected.abs().max().item_double())).isLessThan(1e-13);
  }
}
