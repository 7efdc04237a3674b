package espalier.adapters.gralora;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with a {@link BlockGrid} and their gradients, all of them by blocks:
 *
 * <pre>
 *     H  = X A              H' = swap(H)           Y  = s H' B
 *     dB = s H'ᵀ G          dH = s swap(G Bᵀ)      dA = Xᵀ dH           dX = dH Aᵀ
 * </pre>
 *
 * @param s the factor on the blocks
 */
record BlockBranch(double s) implements BranchProduct.Branch {

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    BlockGrid grid = grid(factors);
    grid.split(y).baddbmm_(grid.hidden(x), grid.b(), new Scalar(1), new Scalar(s));
  }

  private static BlockGrid grid(List<Tensor> factors) {
    return new BlockGrid(factors.getFirst(), factors.getLast());
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    BlockGrid grid = grid(factors);
    Tensor blocks = grid.split(g); // [k, T, out/k]
    Tensor db = null;
    if (wanted[1]) {
      db = grid.hidden(x).transpose(1, 2).bmm(blocks).mul_(new Scalar(s));
    }
    Tensor da = null;
    if (wanted[0] || dx != null) {
      Tensor dh = grid.swap(blocks.bmm(grid.b().transpose(1, 2))).mul_(new Scalar(s));
      da = wanted[0] ? grid.split(x).transpose(1, 2).bmm(dh) : null;
      if (dx != null) {
        grid.split(dx).baddbmm_(dh, grid.a().transpose(1, 2), new Scalar(1), new Scalar(1));
      }
    }
    return Arrays.asList(da, db);
  }
}
