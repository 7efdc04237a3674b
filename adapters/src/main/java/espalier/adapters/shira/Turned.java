package espalier.adapters.shira;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Entries of a matrix as entries of its transpose: GPT-2's Conv1D stores its weight turned.
 *
 * @param positions int64 [K], ascending
 * @param values [K], in that order
 */
record Turned(Tensor positions, Tensor values) {

  /**
   * Turns the entries of a matrix with so many rows and columns.
   *
   * @param positions flat, row-major, int64 [K]
   * @param values [K]
   */
  static Turned of(Tensor positions, Tensor values, long rows, long columns) {
    Tensor row = positions.floor_divide(new Scalar(columns));
    Tensor column = positions.remainder(new Scalar(columns));
    var sorted = column.mul(new Scalar(rows)).add(row).to(ScalarType.Long).sort();
    return new Turned(sorted.get0(), values.index_select(0, sorted.get1()));
  }
}
