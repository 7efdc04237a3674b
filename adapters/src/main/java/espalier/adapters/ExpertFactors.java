package espalier.adapters;

import espalier.nn.ExpertWeight;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Two low-rank factors for each expert of a stacked parameter, laid out as the reference does: rows
 * e·r … e·r+r-1 of A belong to expert e, and of B the columns k·E+e for k = 0 … r-1. So A is a
 * stack over experts, and B, seen as [out, r, E], a stack over ranks.
 *
 * @param layer the parameter of E experts
 * @param a [E·r, in]
 * @param b [out, r·E]
 */
public record ExpertFactors(ExpertWeight layer, Tensor a, Tensor b) {

  /** Why rows of one batch can not have different adapters on a stacked parameter. */
  public static final String ROWS_REFUSAL =
      "rows of one batch can not have different adapters on a stacked parameter;"
          + " run one batch an adapter";

  /** The rank for one expert. */
  public long r() {
    return a.size(0) / layer.experts();
  }

  /** A of one expert, [r, in]. */
  public Tensor a(long expert) {
    return a.narrow(0, expert * r(), r());
  }

  /** B of one expert, [out, r]. */
  public Tensor b(long expert) {
    return b.view(layer.out(), r(), layer.experts()).select(2, expert);
  }

  /** A of all experts, [E, r, in]. */
  public Tensor stackedA(ScalarType dtype) {
    return a.to(dtype).view(layer.experts(), r(), layer.in());
  }

  /** B of all experts, [E, out, r]. */
  public Tensor stackedB(ScalarType dtype) {
    return b.to(dtype).view(layer.out(), r(), layer.experts()).permute(2, 0, 1);
  }

  /** B·A of all experts as the parameter is stored. */
  public Tensor product(ScalarType dtype) {
    Tensor product = stackedB(dtype).matmul(stackedA(dtype)); // [E, out, in]
    return (layer.transposed() ? product.transpose(1, 2) : product)
        .contiguous()
        .view_as(layer.weight());
  }
}
