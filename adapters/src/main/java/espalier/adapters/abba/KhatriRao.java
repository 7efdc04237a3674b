package espalier.adapters.abba;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with s · (B₁A₁) ⊙ (B₂A₂), which is never formed: it is the product B⋆A⋆ of two factors
 * of rank r₁r₂, the products of all pairs of columns of B₁ and B₂ and of all pairs of rows of A₁
 * and A₂.
 *
 * <pre>
 *     h  = x A⋆ᵀ            y   = s h B⋆ᵀ
 *     dh = s g B⋆           dB⋆ = s gᵀ h          dA⋆ = dhᵀ x           dx = dh A⋆
 * </pre>
 *
 * @param s the factor on the branch
 */
public record KhatriRao(double s) implements BranchProduct.Branch {

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    Tensor h = x.mm(rows(factors).t());
    y.addmm_(h, columns(factors).t(), new Scalar(1), new Scalar(s));
  }

  /** B⋆ [out, r₁r₂]. */
  private static Tensor columns(List<Tensor> factors) {
    Tensor b1 = factors.get(0);
    Tensor b2 = factors.get(2);
    return b1.unsqueeze(2).mul(b2.unsqueeze(1)).view(b1.size(0), b1.size(1) * b2.size(1));
  }

  /** A⋆ [r₁r₂, in]. */
  private static Tensor rows(List<Tensor> factors) {
    Tensor a1 = factors.get(1);
    Tensor a2 = factors.get(3);
    return a1.unsqueeze(1).mul(a2.unsqueeze(0)).view(a1.size(0) * a2.size(0), a1.size(1));
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    Tensor rows = rows(factors);
    Tensor dh = g.mm(columns(factors)).mul_(new Scalar(s)); // [T, r₁r₂]
    if (dx != null) {
      dx.addmm_(dh, rows, new Scalar(1), new Scalar(1));
    }
    Tensor b1 = factors.get(0);
    Tensor a1 = factors.get(1);
    Tensor b2 = factors.get(2);
    Tensor a2 = factors.get(3);
    Tensor db1 = null;
    Tensor db2 = null;
    if (wanted[0] || wanted[2]) {
      Tensor db = g.t().mm(x.mm(rows.t())).mul_(new Scalar(s));
      db = db.view(b1.size(0), b1.size(1), b2.size(1));
      db1 = wanted[0] ? db.bmm(b2.unsqueeze(2)).squeeze(2) : null;
      db2 = wanted[2] ? b1.unsqueeze(1).bmm(db).squeeze(1) : null;
    }
    Tensor da1 = null;
    Tensor da2 = null;
    if (wanted[1] || wanted[3]) {
      Tensor da = dh.t().mm(x).view(a1.size(0), a2.size(0), a1.size(1));
      da1 = wanted[1] ? da.mul(a2.unsqueeze(0)).sum(1) : null;
      da2 = wanted[3] ? da.mul(a1.unsqueeze(1)).sum(0) : null;
    }
    return Arrays.asList(db1, da1, db2, da2);
  }
}
