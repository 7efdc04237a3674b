package espalier.models;

import espalier.nn.AttentionMask;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What a stack works on.
 *
 * @param ids [B, T]
 * @param visible whether a key may be seen, [B, past + T] bool, or null where all may
 * @param positions [B or 1, T], or null
 * @param tokenTypes [B, T], or null
 * @param reach [B, T], or null
 * @param memory an encoder's states, or null
 * @param checkpointing whether backward computes blocks again
 */
record StackInputs(
    Tensor ids,
    @Nullable Tensor visible,
    @Nullable Tensor positions,
    @Nullable Tensor tokenTypes,
    @Nullable Tensor reach,
    @Nullable KvCache cache,
    @Nullable Memory memory,
    boolean checkpointing) {

  /**
   * What cross attention looks at.
   *
   * @param hidden an encoder's states, [B, S, hidden]; null where the cache has their keys
   */
  record Memory(@Nullable Tensor hidden, AttentionMask mask) {}

  long time() {
    return ids.size(1);
  }

  long past() {
    return cache == null ? 0 : cache.length();
  }

  /**
   * A mask as {@link #visible} wants it.
   *
   * @param mask [B, past + T], 0 at padding, any dtype, or null
   * @return null also where nothing is padded, since attention is faster without a mask
   */
  static @Nullable Tensor visible(
      String name, @Nullable Tensor mask, Tensor ids, @Nullable KvCache cache) {
    if (mask == null) {
      return null;
    }
    long past = cache == null ? 0 : cache.length();
    long expected = past + ids.size(1);
    if (mask.size(0) != ids.size(0) || mask.size(1) != expected) {
      throw new IllegalArgumentException(
          "%s is [%d, %d] but the batch has %d rows of %d tokens%s; give one number a token"
              .formatted(
                  name,
                  mask.size(0),
                  mask.size(1),
                  ids.size(0),
                  expected,
                  past == 0 ? "" : " (%d of them in the cache)".formatted(past)));
    }
    Tensor visible = mask.ne(new Scalar(0));
    return visible.all().item_bool() ? null : visible;
  }
}
