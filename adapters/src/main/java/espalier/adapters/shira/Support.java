package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.initLogging;
import static org.bytedeco.pytorch.global.torch.searchsorted;
import static org.bytedeco.pytorch.global.torch.sparse_csr_tensor;

import espalier.nn.Linear;
import espalier.nn.Scope;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.LayoutOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.Layout;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Where the trained entries of one weight stand: flat positions i·in + j, 32 bits wide unless the
 * weight is too large for that. Row pointers, which products need, are built once; columns too
 * where they are asked for again and again, but not for training, where as many numbers as the
 * adapter has would be kept to save a thousandth of a step.
 */
final class Support implements AutoCloseable {

  static {
    // Only then does libtorch read the level that Native.prepare sets; without it the first sparse
    // matrix prints that its kind is in beta.
    initLogging();
  }

  private final long out;
  private final long in;
  private final Tensor positions; // int32 or int64 [K], ascending
  private @Nullable Tensor rowPointers; // int32 or int64 [out + 1]
  private @Nullable Tensor columns; // as the row pointers, [K]
  private long[] cuts = {};
  private long cutRows; // of the blocks between the cuts

  /** Takes over ascending, distinct positions within the weight, int64 [K]. */
  Support(long out, long in, Tensor positions) {
    this.out = out;
    this.in = in;
    boolean narrow = out * in <= Integer.MAX_VALUE;
    this.positions =
        Scope.owned(() -> positions.to(narrow ? ScalarType.Int : ScalarType.Long).contiguous());
  }

  /** The first entries of a layer's weight, which stand in for those of a file to come. */
  static Support first(Linear layer, long count) {
    try (var _ = new PointerScope()) {
      return new Support(layer.out(), layer.in(), arange(new Scalar(count)).to(ScalarType.Long));
    }
  }

  long count() {
    return positions.size(0);
  }

  long out() {
    return out;
  }

  long in() {
    return in;
  }

  /** Entries of the whole weight. */
  long size() {
    return out * in;
  }

  /** Flat positions as they are kept, int32 or int64 [K]. */
  Tensor kept() {
    return positions;
  }

  /** Flat positions as the library takes them everywhere, int64 [K]. */
  Tensor positions() {
    return positions.to(ScalarType.Long);
  }

  /** Rows and columns, int32 [2, K]. */
  Tensor indices() {
    return indices(positions, in, ScalarType.Int);
  }

  /** Rows and columns in 16 bits where they fit, which the reference widens; [2, K]. */
  Tensor narrowIndices() {
    return narrowIndices(positions, in);
  }

  /** The same of other flat positions, in a matrix of this size and so many columns. */
  Tensor narrowIndices(Tensor flat, long width) {
    boolean fits = Math.max(out, in) - 1 <= Short.MAX_VALUE;
    return indices(flat, width, fits ? ScalarType.Short : ScalarType.Int);
  }

  private static Tensor indices(Tensor flat, long width, ScalarType dtype) {
    Tensor both = flat.new_empty(2, flat.size(0)).to(dtype);
    both.select(0, 0).copy_(flat.floor_divide(new Scalar(width)));
    both.select(0, 1).copy_(flat.remainder(new Scalar(width)));
    return both;
  }

  /** For each row the number of entries above it; [out + 1]. */
  synchronized Tensor rowPointers() {
    if (rowPointers == null) {
      rowPointers =
          Scope.owned(() -> searchsorted(positions(), starts(0, out + 1, 1)).to(indexType()));
    }
    return rowPointers;
  }

  private Tensor columns() {
    return positions.remainder(new Scalar(in)).to(indexType());
  }

  private ScalarType indexType() {
    return Math.max(count(), in) < Integer.MAX_VALUE ? ScalarType.Int : ScalarType.Long;
  }

  /** Flat positions at which rows begin. */
  private Tensor starts(long from, long to, long step) {
    return arange(new Scalar(from), new Scalar(to), new Scalar(step))
        .to(ScalarType.Long)
        .mul(new Scalar(in))
        .to(positions.device(), ScalarType.Long);
  }

  /**
   * The entries as a sparse matrix by rows, which is asked for seldom.
   *
   * @param values [K], float32 or float64
   * @return [out, in], CSR, which holds the values themselves
   */
  Tensor sparse(Tensor values) {
    return sparse(values, columns());
  }

  /** As {@link #sparse}, but fast for the next time: where it lies is kept. */
  Tensor sparseAgain(Tensor values) {
    if (columns == null) {
      columns = Scope.owned(this::columns);
    }
    return sparse(values, columns);
  }

  private Tensor sparse(Tensor values, Tensor columns) {
    var options =
        new TensorOptions(values.scalar_type().intern())
            .layout(new LayoutOptional(Layout.SparseCsr));
    return sparse_csr_tensor(rowPointers(), columns, values, new long[] {out, in}, options);
  }

  /** The entries in a matrix of zeros, [out, in]. */
  Tensor dense(Tensor values) {
    Tensor matrix = values.new_zeros(out * in);
    matrix.index_copy_(0, positions(), values);
    return matrix.view(out, in);
  }

  /** How many entries stand above each block of so many rows; the last number is all of them. */
  long[] cuts(long rows) {
    if (cutRows != rows) {
      int blocks = Math.toIntExact((out + rows - 1) / rows);
      try (var _ = new PointerScope()) {
        Tensor above = searchsorted(positions(), starts(0, blocks * rows, rows));
        long[] found = new long[blocks + 1];
        for (int i = 0; i < blocks; i++) {
          found[i] = above.select(0, i).item_long(); // once an adapter
        }
        found[blocks] = count();
        cuts = found;
        cutRows = rows;
      }
    }
    return cuts;
  }

  @Override
  public void close() {
    positions.close();
    if (rowPointers != null) {
      rowPointers.close();
    }
    if (columns != null) {
      columns.close();
    }
  }
}
