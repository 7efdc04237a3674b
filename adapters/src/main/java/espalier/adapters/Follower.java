package espalier.adapters;

import espalier.nn.Adapter;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * An adapter on a layer that shares its weight with another layer, and with it what is trained: it
 * computes with the tensors of the adapter there, so that there is one parameter with the gradients
 * of both sides. It is an {@link Adapter}.
 */
public interface Follower {

  /** The adapter that has the tensors. */
  Adapter leader();

  /**
   * The leader's tensors as the file has them below this layer, by name; views, or empty if the
   * file has them below the leader only.
   */
  Map<String, Tensor> shown();

  /**
   * Tensors of a file that stand below this layer, by the leader's names and in its shapes.
   *
   * @param saved some of {@link #shown}, by name
   */
  Map<String, Tensor> asLeader(Map<String, Tensor> saved);
}
