package espalier.adapters.lora;

import espalier.nn.BranchProduct;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * s·B·A·x beside a linear layer, and s times a bias of B where there is one. Its factors are A [r,
 * in], B [out, r] and perhaps the bias [out]; backward computes A·x [T, r] again.
 *
 * @param scaling s
 */
record LoraBranch(double scaling) implements BranchProduct.Branch {

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    var s = new Scalar(scaling);
    y.addmm_(x.mm(factors.get(0).t()), factors.get(1).t(), LoraLinear.one(), s);
    if (factors.size() > 2) {
      y.add_(factors.get(2), s);
    }
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    var s = new Scalar(scaling);
    Tensor a = factors.get(0);
    Tensor forHidden = g.mm(factors.get(1)).mul_(s); // [T, r]
    if (dx != null) {
      dx.addmm_(forHidden, a);
    }
    var gradients = new ArrayList<@Nullable Tensor>();
    gradients.add(wanted[0] ? forHidden.t().mm(x) : null);
    gradients.add(wanted[1] ? g.t().mm(x.mm(a.t())).mul_(s) : null);
    if (factors.size() > 2) {
      gradients.add(wanted[2] ? g.sum(0).mul_(s) : null);
    }
    return gradients;
  }
}
