package espalier.adapters.combine;

import espalier.nn.HalfPrecision;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * What one source has on one layer: an update s·B·A, of which {@code weight} parts are wanted. A
 * convolution in g groups has g of them, all else has one.
 *
 * @param number of the source among all sources
 * @param adapter the source's name
 * @param a [g, r / g, in]
 * @param b [g, out / g, r / g]
 */
record Share(int number, String adapter, Tensor a, Tensor b, double scaling, double weight) {

  /** The weight with the scaling in it. */
  double total() {
    return weight * scaling;
  }

  /** What goes to B of the total; A gets the same with its sign. */
  double root() {
    return Math.sqrt(Math.abs(total()));
  }

  /** The update as the source alone makes it, [g, out / g, in]. */
  Tensor update() {
    return b.matmul(a).mul_(new Scalar(scaling));
  }

  /** The same in the dtype of merges. */
  Share wide() {
    return new Share(
        number, adapter, HalfPrecision.widened(a), HalfPrecision.widened(b), scaling, weight);
  }
}
