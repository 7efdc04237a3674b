package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/**
 * A weight [out, in] that is read some rows at a time, whatever it is stored as: a quantised one is
 * decoded, a plain one gives views of itself.
 */
public interface WeightRows {

  /** Rows [length, in] in the dtype of the layer; not to be written to. */
  Tensor rows(long from, long length);
}
