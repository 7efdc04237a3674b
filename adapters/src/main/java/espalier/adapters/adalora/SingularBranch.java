package espalier.adapters.adalora;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with s · B·diag(E)·A. Its factors are A [r, in], E [r, 1] and B [out, r].
 *
 * @param s the factor on the branch
 */
record SingularBranch(double s) implements BranchProduct.Branch {

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    Tensor h = x.mm(factors.get(0).t()).mul_(factors.get(1).t());
    y.addmm_(h, factors.get(2).t(), new Scalar(1), new Scalar(s));
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    Tensor a = factors.get(0);
    Tensor e = factors.get(1);
    Tensor h = x.mm(a.t()); // [T, r]
    Tensor dv = g.mm(factors.get(2)).mul_(new Scalar(s)); // of the scaled h
    Tensor db = g.t().mm(h.mul(e.t())).mul_(new Scalar(s));
    Tensor de = h.mul_(dv).sum(0).unsqueeze(1);
    Tensor dh = dv.mul_(e.t());
    if (dx != null) {
      dx.addmm_(dh, a);
    }
    return Arrays.asList(dh.t().mm(x), de, db);
  }

  /** The update [out, in], as autograd sees it. */
  Tensor update(Tensor a, Tensor e, Tensor b) {
    return b.mm(a.mul(e)).mul(new Scalar(s));
  }
}
