package espalier.models;

import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * One half of a block without its norm and its residual sum, in two steps, so that its input can be
 * freed between them.
 */
interface Sublayer {

  /** What the layers that read the input make of it, x [B, T, hidden]. */
  List<Tensor> project(Tensor x);

  /**
   * The rest.
   *
   * @param projected as {@link #project} gave it; may be written to
   * @return [B, T, hidden], memory of its own
   */
  Tensor finish(List<Tensor> projected);
}
