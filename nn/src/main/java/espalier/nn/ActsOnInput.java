package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/**
 * An adapter that changes what goes into a layer and not what comes out of it. Among several
 * adapters in force the base and the adapters before it see the changed input, those after it the
 * given one, as if each adapter were wrapped around all before it.
 */
public interface ActsOnInput {

  /**
   * What the base and the adapters before this one see.
   *
   * @param x the layer's input, [..., in]
   * @return [..., in] in the dtype of {@code x}
   */
  Tensor turned(Tensor x);
}
