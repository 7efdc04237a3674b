package espalier.adapters.lokr;

import espalier.nn.BranchProduct;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with s · L ⊗ R, which is not formed: with x as [c, d] it is L·(x·Rᵀ), where L is [a, c]
 * and R is [b, d].
 *
 * <pre>
 *     z  = x Rᵀ [c, b]      y  = s L z [a, b]
 *     dz = s Lᵀ g           dL = s g zᵀ          dR = dzᵀ x          dx = dz R
 * </pre>
 *
 * @param s the factor on the branch
 * @param leftSplit whether L is a product of two factors
 * @param rightSplit whether R is
 */
record KroneckerBranch(double s, boolean leftSplit, boolean rightSplit)
    implements BranchProduct.Branch {

  private List<Tensor> left(List<Tensor> factors) {
    return factors.subList(0, leftSplit ? 2 : 1);
  }

  private List<Tensor> right(List<Tensor> factors) {
    return factors.subList(leftSplit ? 2 : 1, factors.size());
  }

  private static Tensor product(List<Tensor> side) {
    return side.size() == 1 ? side.getFirst() : side.get(0).mm(side.get(1));
  }

  /** z for each place of R's outputs: [T·b, c]. */
  private static Tensor inner(Tensor x, Tensor left, Tensor right) {
    long c = left.size(1);
    Tensor z = x.reshape(x.size(0) * c, right.size(1)).mm(right.t());
    return turned(z, x.size(0), c, right.size(0));
  }

  /** From [T·m, n] to [T·n, m]. */
  private static Tensor turned(Tensor rows, long tokens, long m, long n) {
    return rows.reshape(tokens, m, n).transpose(1, 2).reshape(tokens * n, m);
  }

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    Tensor left = product(left(factors));
    Tensor right = product(right(factors));
    Tensor rows = inner(x, left, right).mm(left.t()); // [T·b, a]
    long a = left.size(0);
    long b = right.size(0);
    y.add_(turned(rows, x.size(0), b, a).reshape(x.size(0), a * b), new Scalar(s));
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    Tensor left = product(left(factors));
    Tensor right = product(right(factors));
    long tokens = x.size(0);
    long c = left.size(1);
    long b = right.size(0);
    Tensor gRows =
        turned(g.reshape(tokens * left.size(0), b), tokens, left.size(0), b).mul(new Scalar(s));
    Tensor dLeft = gRows.t().mm(inner(x, left, right)); // [a, c]
    Tensor dz = turned(gRows.mm(left), tokens, b, c); // [T·c, b]
    Tensor dRight = dz.t().mm(x.reshape(tokens * c, right.size(1))); // [b, d]
    if (dx != null) {
      dx.add_(dz.mm(right).view(tokens, x.size(1)));
    }
    var gradients = new ArrayList<@Nullable Tensor>();
    chain(dLeft, left(factors), gradients);
    chain(dRight, right(factors), gradients);
    return gradients;
  }

  private static void chain(Tensor d, List<Tensor> side, List<@Nullable Tensor> gradients) {
    if (side.size() == 1) {
      gradients.add(d);
    } else {
      gradients.add(d.mm(side.get(1).t()));
      gradients.add(side.get(0).t().mm(d));
    }
  }
}
