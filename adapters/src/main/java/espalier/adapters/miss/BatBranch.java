package espalier.adapters.miss;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with an update that has W·D + D in each block [r, r] of the weight, where D is one for
 * each row of blocks. Its factors are D [out / r, r, r] and W [out, in], which does not train.
 *
 * @param s the factor on the branch
 */
record BatBranch(double s) implements BranchProduct.Branch {

  /** The blocks of a matrix: [in / r, out / r, r, r]. */
  private static Tensor blocks(Tensor matrix, long r) {
    return matrix.reshape(matrix.size(0) / r, r, matrix.size(1) / r, r).permute(2, 0, 1, 3);
  }

  /** The update [out, in]. */
  Tensor update(List<Tensor> factors) {
    Tensor d = factors.get(0);
    Tensor w = factors.get(1);
    Tensor result = blocks(w, d.size(2)).matmul(d).add(d).mul(new Scalar(s));
    return result.permute(1, 2, 0, 3).reshape(w.size(0), w.size(1));
  }

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    y.addmm_(x, update(factors).t());
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    if (dx != null) {
      dx.addmm_(g, update(factors));
    }
    long r = factors.get(0).size(2);
    Tensor dm = blocks(g.t().mm(x).mul_(new Scalar(s)), r);
    Tensor w = blocks(factors.get(1), r);
    return Arrays.asList(w.transpose(2, 3).matmul(dm).add(dm).sum(0), null);
  }
}
