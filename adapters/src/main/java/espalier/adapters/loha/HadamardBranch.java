package espalier.adapters.loha;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with s · (A₁B₁) ⊙ (A₂B₂), which is formed: cheaper than {@link
 * espalier.adapters.abba.KhatriRao} from a rank on whose square reaches the width of the layer. Its
 * factors are A₁ [out, r], B₁ [r, in], A₂ [out, r] and B₂ [r, in].
 *
 * @param s the factor on the branch
 */
record HadamardBranch(double s) implements BranchProduct.Branch {

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    Tensor m = factors.get(0).mm(factors.get(1)).mul_(factors.get(2).mm(factors.get(3)));
    y.addmm_(x, m.t(), new Scalar(1), new Scalar(s));
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    Tensor one = factors.get(0).mm(factors.get(1));
    Tensor two = factors.get(2).mm(factors.get(3));
    if (dx != null) {
      dx.addmm_(g, one.mul(two), new Scalar(1), new Scalar(s));
    }
    Tensor dm = g.t().mm(x).mul_(new Scalar(s)); // [out, in]
    Tensor ofOne = two.mul_(dm);
    Tensor ofTwo = one.mul_(dm);
    return Arrays.asList(
        ofOne.mm(factors.get(1).t()),
        factors.get(0).t().mm(ofOne),
        ofTwo.mm(factors.get(3).t()),
        factors.get(2).t().mm(ofTwo));
  }
}
