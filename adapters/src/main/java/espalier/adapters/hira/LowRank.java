package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.cat;

import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * M = PQ.
 *
 * @param p [m, r]
 * @param q [r, n]
 */
record LowRank(Tensor p, Tensor q) implements Modulation {

  @Override
  public LowRank to(ScalarType dtype) {
    return new LowRank(p.to(dtype), q.to(dtype));
  }

  @Override
  public long together() {
    return p.size(0);
  }

  @Override
  public Tensor rows(long from, long length) {
    return p.narrow(0, from, length).mm(q);
  }

  @Override
  public void backward(long from, Tensor g, Tensor dp, Tensor dq) {
    dp.narrow(0, from, g.size(0)).copy_(g.mm(q.t()));
    dq.addmm_(p.narrow(0, from, g.size(0)).t(), g);
  }

  /** x Wᵀ and the r rows of (Q ⊙ x) Wᵀ in one product; then Σ P[:, k] ⊙ row k. */
  @Override
  public Tensor token(Tensor w, Tensor x, boolean plusOne) {
    var rows = new TensorVector();
    rows.push_back(x);
    rows.push_back(q.mul(x).to(x.scalar_type().intern()));
    Tensor products = cat(rows, 0).mm(w.t()); // [r + 1, m]
    Tensor branch =
        products
            .narrow(0, 1, q.size(0))
            .mul(p.t())
            .sum(new long[] {0}, true, new ScalarTypeOptional());
    return plusOne ? branch.add_(products.narrow(0, 0, 1)) : branch;
  }
}
