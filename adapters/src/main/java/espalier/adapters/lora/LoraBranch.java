package espalier.adapters.lora;

import espalier.nn.BranchProduct;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * s·B·A·x beside a linear layer, and s times a bias of B where there is one. Its factors are A [r,
 * in], B [out, r], perhaps the bias [out], and with dropout what it keeps of x, [T, in] of 0 and 1;
 * backward computes A·x [T, r] again.
 *
 * @param scaling s
 * @param dropout the part of x that the branch does not see; the rest grows by 1 / (1 - dropout)
 */
record LoraBranch(double scaling, double dropout) implements BranchProduct.Branch {

  /** Without dropout. */
  LoraBranch(double scaling) {
    this(scaling, 0);
  }

  /** Draws what dropout keeps of x, a byte an entry and in the order of libtorch's dropout. */
  Tensor drawn(Tensor x) {
    try (var _ = new NoGradGuard()) {
      Tensor kept = Scope.room(ScalarType.Bool, x, x.shape());
      kept.bernoulli_(1 - dropout, new GeneratorOptional());
      return kept;
    }
  }

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    var s = new Scalar(scaling);
    y.addmm_(seen(x, factors).mm(factors.get(0).t()), factors.get(1).t(), LoraLinear.one(), s);
    if (biased(factors)) {
      y.add_(factors.get(2), s);
    }
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    var s = new Scalar(scaling);
    Tensor a = factors.get(0);
    Tensor seen = seen(x, factors);
    Tensor forHidden = g.mm(factors.get(1)).mul_(s); // [T, r]
    if (dx != null && dropout == 0) {
      dx.addmm_(forHidden, a);
    } else if (dx != null) {
      dx.addcmul_(forHidden.mm(a), factors.getLast(), grown());
    }
    var gradients = new ArrayList<@Nullable Tensor>();
    gradients.add(wanted[0] ? forHidden.t().mm(seen) : null);
    gradients.add(wanted[1] ? g.t().mm(seen.mm(a.t())).mul_(s) : null);
    if (biased(factors)) {
      gradients.add(wanted[2] ? g.sum(0).mul_(s) : null);
    }
    if (dropout > 0) {
      gradients.add(null);
    }
    return gradients;
  }

  private boolean biased(List<Tensor> factors) {
    return factors.size() > (dropout > 0 ? 3 : 2);
  }

  /** What the branch sees of x. */
  private Tensor seen(Tensor x, List<Tensor> factors) {
    return dropout == 0 ? x : x.mul(factors.getLast()).mul_(grown());
  }

  private Scalar grown() {
    return new Scalar(dropout == 1 ? 0 : 1 / (1 - dropout)); // nothing is left to grow
  }
}
