package espalier.checkpoints.gguf;

import java.util.List;

/**
 * The numbers of a file that make up one tensor, and what is done to them on the way.
 *
 * @param info the tensor of the file that holds them
 * @param shape of the result, before it is transposed
 * @param rowElements numbers in a row, a whole number of blocks
 * @param firstRow of the file's tensor, in the result's order
 * @param rowCount rows of the result
 * @param layout what is undone
 */
record TensorSource(
    TensorInfo info,
    List<Long> shape,
    long rowElements,
    long firstRow,
    long rowCount,
    Layout layout) {

  TensorSource {
    shape = List.copyOf(shape);
  }

  /** The whole tensor as the file has it. */
  static TensorSource whole(TensorInfo info) {
    return whole(info, new Layout.AsStored());
  }

  static TensorSource whole(TensorInfo info, Layout layout) {
    // A vector with interleaved heads is a matrix of one column: its elements move, not its rows.
    boolean column = info.shape().size() == 1 && layout instanceof Layout.InterleavedHeads;
    long rowElements = column ? 1 : info.rowElements();
    long rows = column ? info.rowElements() : info.rows();
    return new TensorSource(info, info.shape(), rowElements, 0, rows, layout);
  }

  /** One matrix of those that are stacked in a tensor of three dimensions. */
  static TensorSource slice(TensorInfo info, long index) {
    long rows = info.shape().get(1);
    return new TensorSource(
        info,
        info.shape().subList(1, 3),
        info.rowElements(),
        index * rows,
        rows,
        new Layout.AsStored());
  }

  /** The rows from {@code from} to before {@code to} as a matrix. */
  TensorSource rows(long from, long to) {
    if (layout instanceof Layout.Transposed) {
      throw new IllegalArgumentException(
          "%s is stored transposed, so its rows are spread over the file; read it whole"
              .formatted(info.name()));
    }
    if (from < 0 || to <= from || to > rowCount) {
      throw new IllegalArgumentException(
          "rows %d to %d of %s were asked for, but it has %d"
              .formatted(from, to, info.name(), rowCount));
    }
    return new TensorSource(
        info, List.of(to - from, rowElements), rowElements, firstRow + from, to - from, layout);
  }

  /** The result's shape. */
  List<Long> resultShape() {
    return layout instanceof Layout.Transposed ? shape.reversed() : shape;
  }

  /** The byte of the file where row {@code row} of the result begins. */
  long offset(long row) {
    long rowBytes = rowElements / info.format().elements() * info.format().bytes();
    return info.offset() + layout.stored(firstRow + row) * rowBytes;
  }
}
