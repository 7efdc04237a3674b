package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;

import espalier.nn.TokenIds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Rows that hold several examples, told by how far each token reaches: token j is seen by tokens j
 * to {@code reach[j] - 1}, so what lies between two examples' tokens may be seen by both or by
 * neither.
 */
final class PackedRows {

  private PackedRows() {}

  /**
   * The reach of tokens that each belong to one example.
   *
   * @param segments [B, T]: 0 at padding, then one number for the tokens of each example, which
   *     stand side by side
   * @return [B, T] int64
   */
  static Tensor reach(Tensor segments) {
    var result = new Tensor();
    try (var _ = new PointerScope()) {
      var rows = new TensorVector();
      for (long[] segment : TokenIds.rows(segments)) {
        rows.push_back(Tensor.create(reach(segment), segment.length));
      }
      result.put(torch.stack(rows, 0).to(segments.device(), segments.dtype()));
    }
    return result;
  }

  private static long[] reach(long[] segment) {
    var reach = new long[segment.length];
    for (int from = 0; from < segment.length; ) {
      int to = from;
      while (to < segment.length && segment[to] == segment[from]) {
        reach[to++] = segment[from];
      }
      java.util.Arrays.fill(reach, from, to, segment[from] == 0 ? 0 : to);
      from = to;
    }
    return reach;
  }

  /**
   * Which tokens see which.
   *
   * @param reach [B, T]
   * @return [B, query, key] bool
   */
  static Tensor seen(Tensor reach) {
    Tensor index = arange(new Scalar(reach.size(1)), reach.options());
    Tensor query = index.unsqueeze(1); // [T, 1]
    Tensor soFar = index.unsqueeze(0).le(query); // [T, T]
    return reach.unsqueeze(1).gt(query).logical_and(soFar);
  }

  /** The position of each token, which is the number of others that it sees; [B, T] int64. */
  static Tensor positions(Tensor reach) {
    return seen(reach).sum(-1).sub_(new Scalar(1)).clamp_min_(new Scalar(0));
  }
}
