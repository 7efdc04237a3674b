package espalier.adapters.miss;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import espalier.nn.BranchProduct;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Products with an update whose columns repeat every r inputs: the shards of x are summed to h [T,
 * r], and h meets the block D [r, n], which is repeated along the outputs.
 *
 * @param s the factor on the branch
 */
record ShardBranch(double s) implements BranchProduct.Branch {

  /** The sum of the shards, the last of which is filled up with zeros. */
  private static Tensor folded(Tensor x, long r) {
    long missing = (r - x.size(1) % r) % r;
    Tensor filled = missing == 0 ? x : constant_pad_nd(x, new long[] {0, missing});
    return filled.reshape(x.size(0), filled.size(1) / r, r).sum(1);
  }

  private static Tensor whole(Tensor block, long out) {
    return block.size(1) == out ? block : block.repeat(1, out / block.size(1));
  }

  @Override
  public void add(Tensor x, List<Tensor> factors, Tensor y) {
    Tensor block = factors.getFirst();
    Tensor h = folded(x, block.size(0));
    y.addmm_(h, whole(block, y.size(1)), new Scalar(1), new Scalar(s));
  }

  @Override
  public List<@Nullable Tensor> backward(
      Tensor g, Tensor x, List<Tensor> factors, @Nullable Tensor dx, boolean[] wanted) {
    Tensor block = factors.getFirst();
    long r = block.size(0);
    long out = g.size(1);
    if (dx != null) {
      Tensor dh = g.mm(whole(block, out).t()).mul_(new Scalar(s)); // [T, r]
      long in = x.size(1);
      dx.add_(dh.repeat(1, (in + r - 1) / r).narrow(1, 0, in));
    }
    Tensor d = folded(x, r).t().mm(g).mul_(new Scalar(s)); // [r, out]
    long n = block.size(1);
    return Arrays.asList(n == out ? d : d.view(r, out / n, n).sum(1));
  }

  /** The update [out, in]. */
  Tensor update(Tensor block, long out, long in) {
    long r = block.size(0);
    return whole(block, out).t().repeat(1, (in + r - 1) / r).narrow(1, 0, in).mul(new Scalar(s));
  }
}
