package espalier.adapters.shira;

import espalier.nn.Linear;
import org.bytedeco.pytorch.Tensor;

/** Chooses the entries of a layer's weight that are trained. Set in code; it is never saved. */
@FunctionalInterface
public interface MaskFunction {

  /**
   * The mask of one layer.
   *
   * @param layer the layer; its weight [out, in] is not to be written
   * @param r the config's r
   * @return [out, in] on the weight's device, each entry 0 or 1, with exactly r·(out + in) ones
   */
  Tensor mask(Linear layer, int r);
}
