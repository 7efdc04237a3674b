package espalier.nn;

import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Where a model's weights come from as it is built: a checkpoint, or anything that can say what
 * stands under a key. Tensors are handed out in the dtype that the model is to run in.
 */
@FunctionalInterface
public interface Weights {

  /** The tensor under {@code key}, or null if there is none. */
  @Nullable Tensor find(String key);

  /**
   * The tensor under {@code key}.
   *
   * @throws IllegalArgumentException naming the key if there is none
   */
  default Tensor get(String key) {
    Tensor tensor = find(key);
    if (tensor == null) {
      throw new IllegalArgumentException(
          "the checkpoint has no tensor %s, which the model's config asks for; the config and the"
                  .formatted(key)
              + " weights do not belong together, or the download is incomplete");
    }
    return tensor;
  }

  /** The weights below {@code prefix}: {@code at("model").get("norm.weight")}. */
  default Weights at(String prefix) {
    return key -> find(Layer.join(prefix, key));
  }
}
