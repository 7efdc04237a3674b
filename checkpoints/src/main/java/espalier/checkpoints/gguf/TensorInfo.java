package espalier.checkpoints.gguf;

import java.util.List;

/**
 * Where a tensor stands in the file and what it is.
 *
 * @param name as the file calls it, such as {@code blk.0.attn_q.weight}
 * @param shape in torch's order, slowest dimension first: the file's own order reversed
 * @param format how its numbers are stored; a row is a whole number of blocks
 * @param offset of its first byte, from the start of the file
 * @param bytes that it takes
 */
public record TensorInfo(
    String name, List<Long> shape, BlockFormat format, long offset, long bytes) {

  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** Numbers in a row: the last dimension. */
  public long rowElements() {
    return shape.getLast();
  }

  /** Rows: the product of all dimensions but the last. */
  public long rows() {
    return shape.stream().limit(shape.size() - 1L).reduce(1L, (a, b) -> a * b);
  }
}
