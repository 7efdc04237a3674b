package espalier.adapters.abba;

import espalier.nn.BranchProduct;
import espalier.nn.Features;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The branch of an adapter on a linear layer, given by factors and products with them.
 *
 * @param dropout the part of the branch's input that is dropped in training
 */
public record LinearBranch(Linear layer, double dropout) {

  /**
   * The layer's output with the branch: one autograd node, where both see the same input.
   *
   * @param x [..., in]
   * @return [..., out] in the dtype of x
   */
  public Tensor first(
      Tensor x, boolean training, List<Tensor> factors, BranchProduct.Branch branch) {
    Tensor rows = Features.rows(x);
    Tensor y =
        dropping(training)
            ? BranchProduct.into(layer.base(rows), kept(rows, training), factors, branch)
            : BranchProduct.whole(layer, rows, factors, branch);
    return Features.shaped(y, x);
  }

  /**
   * Adds the branch to an output.
   *
   * @param y [..., out], not written to
   * @return [..., out] in the dtype of y
   */
  public Tensor forward(
      Tensor x, Tensor y, boolean training, List<Tensor> factors, BranchProduct.Branch branch) {
    Tensor own = Features.rows(y).clone(); // somebody else may hold y
    Tensor rows = kept(Features.rows(x), training);
    return Features.shaped(BranchProduct.into(own, rows, factors, branch), x);
  }

  private boolean dropping(boolean training) {
    return dropout > 0 && training;
  }

  private Tensor kept(Tensor x, boolean training) {
    return dropping(training) ? torch.dropout(x, dropout, true) : x;
  }
}
