package espalier.adapters.hira;

import static org.bytedeco.pytorch.global.torch.cat;

import espalier.adapters.gralora.BlockGrid;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** M as a grid of blocks, each with a low-rank factorisation of its own. */
record Blockwise(BlockGrid grid) implements Modulation {

  @Override
  public Blockwise to(ScalarType dtype) {
    return new Blockwise(new BlockGrid(grid.a().to(dtype), grid.b().to(dtype)));
  }

  @Override
  public long together() {
    return grid.blockRows();
  }

  @Override
  public Tensor rows(long from, long length) {
    Tensor rows = grid.a().new_empty(length, grid.k() * grid.a().size(1));
    grid.rows(from, 1, rows);
    return rows;
  }

  @Override
  public void backward(long from, Tensor g, Tensor dp, Tensor dq) {
    grid.backward(from, g, dq, dp);
  }

  /** As for one pair of factors, in each block, and the blocks of a row summed. */
  @Override
  public Tensor token(Tensor w, Tensor x, boolean plusOne) {
    Tensor parts = grid.split(x); // [b, 1, n/b]
    var rows = new TensorVector();
    for (long from = 0; from < w.size(0); from += together()) {
      Tensor left = grid.left(from, together()); // [b, m/b, q]
      var columns = new TensorVector();
      columns.push_back(grid.right(from).mul(parts).to(x.scalar_type().intern()));
      columns.push_back(parts);
      Tensor products = // [b, m/b, q + 1]
          grid.split(w.narrow(0, from, together())).bmm(cat(columns, 1).transpose(1, 2));
      Tensor branch = sum(products.narrow(2, 0, left.size(2)).mul(left));
      rows.push_back(plusOne ? branch.add_(sum(products.narrow(2, left.size(2), 1))) : branch);
    }
    return cat(rows, 0).unsqueeze(0);
  }

  private static Tensor sum(Tensor blocks) {
    return blocks.sum(new long[] {0, 2}, false, new ScalarTypeOptional());
  }
}
