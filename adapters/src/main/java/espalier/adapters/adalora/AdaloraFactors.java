package espalier.adapters.adalora;

import static org.bytedeco.pytorch.global.torch.eye;

import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * A singular value decomposition that is trained: B·diag(E)·A.
 *
 * @param a right singular vectors [r, in]
 * @param e singular values [r, 1]
 * @param b left singular vectors [out, r]
 */
record AdaloraFactors(Tensor a, Tensor e, Tensor b) {

  List<Tensor> list() {
    return List.of(a, e, b);
  }

  /** ‖A·Aᵀ - I‖ + ‖Bᵀ·B - I‖ in the Frobenius norm. */
  Tensor penalty() {
    return away(a.mm(a.t())).add(away(b.t().mm(b)));
  }

  private static Tensor away(Tensor products) {
    Tensor one = eye(products.size(0)).to(products.device(), products.dtype());
    return products.sub(one).norm();
  }
}
