package espalier.adapters.lora.starts;

import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Which rows of a layer's input its principal components are taken from. */
@FunctionalInterface
public interface LayerRows {

  /**
   * The rows.
   *
   * @param input the layer's input, [..., in]
   * @param mask what the batch gave beside it, for a language model the tokens that count, [batch,
   *     time], bool; or null
   * @param path the layer's path
   * @return [n, in]
   */
  Tensor of(Tensor input, @Nullable Tensor mask, String path);

  /** All positions where the mask is true; without a mask all positions. */
  static Tensor masked(Tensor input, @Nullable Tensor mask, String path) {
    Tensor rows = input.reshape(-1, input.size(-1));
    if (mask == null) {
      return rows;
    }
    if (mask.numel() != rows.size(0)) {
      throw new IllegalArgumentException(
          "%s got %d positions but the mask has %d; tell which rows of this layer count, or leave the mask out"
              .formatted(path, rows.size(0), mask.numel()));
    }
    return rows.index_select(0, mask.reshape(-1).nonzero().squeeze(1));
  }
}
