package espalier.adapters;

import espalier.nn.Adapter;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** How adapters of one method take over the tensors of another adapter of theirs in place. */
public interface Swapping {

  /**
   * A saved tensor as it goes into the place of a present one: with zeros up to the present rank,
   * or as it is where its rank is higher.
   *
   * @return null if it does not fit
   */
  @Nullable Tensor fitted(Adapter adapter, String name, Tensor saved);

  /**
   * A present tensor with zeros up to a rank.
   *
   * @throws ConfigException if its rank is higher, or the layer can not have this one
   */
  Tensor widened(Adapter adapter, String path, String name, int rank);

  /** Takes over what the next config says beside the tensors, such as the factor. */
  void retune(Adapter adapter, String path);

  /**
   * The next config with the ranks that the tensors have now.
   *
   * @param adapters what the adapter has on the layers that it adapts, by path
   * @param targets the layers as attaching wrote them down
   */
  AdapterConfig settled(Map<String, Adapter> adapters, Targets targets);
}
