package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/** A batch of any shape as a table of features, one row a token, and back. */
public final class Features {

  private Features() {}

  /**
   * The rows of a batch.
   *
   * @param x [..., n]
   * @return [T, n], a view where the layout allows it
   */
  public static Tensor rows(Tensor x) {
    return x.dim() == 2 ? x : x.reshape(-1, x.size(-1));
  }

  /**
   * Rows in the shape of the batch that they came from.
   *
   * @param rows [T, m]
   * @param x [..., n], with T rows
   * @return [..., m], a view
   */
  public static Tensor shaped(Tensor rows, Tensor x) {
    if (x.dim() == 2) {
      return rows;
    }
    long[] shape = new long[(int) x.dim()];
    for (int i = 0; i < shape.length - 1; i++) {
      shape[i] = x.size(i);
    }
    shape[shape.length - 1] = rows.size(-1);
    return rows.view(shape);
  }
}
