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

  /**
   * The matrix [out, in] of a linear layer under {@code key} in the codes in which it is to stay,
   * or null if it is to be a plain tensor.
   *
   * @return a new owner of the codes; to be closed
   */
  default @Nullable QuantisedWeight findQuantised(String key) {
    return null;
  }

  /** The weights below {@code prefix}: {@code at("model").get("norm.weight")}. */
  default Weights at(String prefix) {
    Weights all = this;
    return new Weights() {
      @Override
      public @Nullable Tensor find(String key) {
        return all.find(Layer.join(prefix, key));
      }

      @Override
      public @Nullable QuantisedWeight findQuantised(String key) {
        return all.findQuantised(Layer.join(prefix, key));
      }
    };
  }
}
