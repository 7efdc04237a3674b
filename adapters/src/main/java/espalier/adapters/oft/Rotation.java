package espalier.adapters.oft;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.randperm;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Init;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A block-diagonal rotation R by the entries above the diagonal of a skew-symmetric matrix for each
 * block, or one for all.
 */
final class Rotation {

  private final OftConfig config;
  private final Blocks blocks;

  Rotation(OftConfig config, long width) {
    this.config = config;
    blocks = config.blocks(width);
  }

  /** First angles, [blocks, n (n - 1) / 2], or of one block. */
  Tensor start(Init init) {
    long count = config.blockShare() ? 1 : blocks.count();
    return config.initWeights()
        ? init.zero(count, blocks.angles())
        : init.normal(0.1, count, blocks.angles());
  }

  /** The skew-symmetric matrices [blocks, n, n] of some angles. */
  private Tensor skew(Tensor angles) {
    int n = Math.toIntExact(blocks.size());
    var place = new long[n * n]; // 0 is a column of zeros
    var sign = new float[n * n];
    long next = 1;
    for (int row = 0; row < n; row++) {
      for (int column = row + 1; column < n; column++, next++) {
        place[row * n + column] = next;
        place[column * n + row] = next;
        sign[row * n + column] = 1;
        sign[column * n + row] = -1;
      }
    }
    long count = angles.size(0);
    Tensor none = angles.new_zeros(count, 1);
    Tensor all = cat(new TensorVector(none, angles), 1);
    return all.index_select(1, tensor(place).to(angles.device(), ScalarType.Long))
        .mul(tensor(sign).to(angles.device(), angles.dtype()))
        .view(count, n, n);
  }

  /** Angles no longer than {@code eps} allows for each block; without gradients. */
  Tensor heldBack(Tensor angles) {
    if (!config.constraint().on()) {
      return angles;
    }
    try (var _ = new NoGradGuard()) {
      double most = config.constraint().eps() / Math.sqrt((double) angles.size(0));
      // Frobenius, in which each angle stands twice
      Tensor length =
          angles
              .square()
              .sum(new long[] {1}, true, new org.bytedeco.pytorch.ScalarTypeOptional())
              .mul(new Scalar(2.0))
              .sqrt();
      return angles.where(length.le(new Scalar(most)), angles.div(length).mul(new Scalar(most)));
    }
  }

  /**
   * The blocks of R, [blocks, n, n], as autograd sees them.
   *
   * @param scale 1 for R, 0 for no rotation, and what lies between
   */
  Tensor of(Tensor angles, double scale, boolean training) {
    Tensor r = config.cayley().of(skew(angles));
    Tensor one = eye(blocks.size()).to(r.device(), r.dtype());
    Tensor scaled = scale == 1 ? r : one.add(r.sub(one), new Scalar(scale));
    long left = (long) (config.moduleDropout() * r.size(0));
    if (!training || left == 0 || r.size(0) == 1) {
      return scaled;
    }
    Tensor turned =
        randperm(r.size(0)).ge(new Scalar(left)).to(r.device(), r.dtype()).view(-1, 1, 1);
    return one.add(scaled.sub(one).mul(turned));
  }

  /**
   * Rows times R.
   *
   * @param x [T, width]
   * @param r [blocks, n, n]
   * @return [T, width]
   */
  Tensor rotated(Tensor x, Tensor r) {
    long n = blocks.size();
    Tensor parts = x.reshape(x.size(0), blocks.count(), n).transpose(0, 1);
    return parts.bmm(r.expand(blocks.count(), n, n)).transpose(0, 1).reshape(x.size(0), x.size(1));
  }
}
