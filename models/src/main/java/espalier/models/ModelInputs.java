package espalier.models;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * One batch on its way into a model. The tensors stay the caller's.
 *
 * <p>A decoder that is trained on rows padded on the right needs no mask: no token looks ahead, so
 * the mask changes nothing but the outputs at padded positions, and without it attention runs in
 * the fused kernel.
 *
 * @param inputIds token ids, [B, T] int64; with a cache only those that it does not hold yet
 * @param attentionMask [B, T], 0 at padding; with a cache [B, past + T]. Null: no padding.
 * @param positionIds [B, T] or [1, T] int64; null: counted from each row's first real token
 * @param tokenTypeIds [B, T] int64, for models with token types; null: all 0
 * @param reach [B, T] int64 for rows that hold several examples: token j is seen by the tokens from
 *     j on up to but without {@code reach[j]}; 0 at padding. A token's position is how many it sees
 *     before it. So examples stand beside each other without seeing one another, and what several
 *     begin with may stand once, before them all. Null: a row is one example.
 * @param decoderInputIds [B, U] int64, for an encoder-decoder
 * @param decoderAttentionMask [B, U], with a cache [B, past + U], or null
 * @param cache keys and values of the tokens so far, or null
 */
public record ModelInputs(
    Tensor inputIds,
    @Nullable Tensor attentionMask,
    @Nullable Tensor positionIds,
    @Nullable Tensor tokenTypeIds,
    @Nullable Tensor reach,
    @Nullable Tensor decoderInputIds,
    @Nullable Tensor decoderAttentionMask,
    @Nullable KvCache cache) {

  public ModelInputs {
    ids("inputIds", inputIds);
    if (decoderInputIds != null) {
      ids("decoderInputIds", decoderInputIds);
    }
    if (attentionMask != null && attentionMask.dim() != 2) {
      throw new IllegalArgumentException(
          "attentionMask has %d dimensions but must be [batch, time]"
              .formatted(attentionMask.dim()));
    }
    if (decoderAttentionMask != null && decoderAttentionMask.dim() != 2) {
      throw new IllegalArgumentException(
          "decoderAttentionMask has %d dimensions but must be [batch, time]"
              .formatted(decoderAttentionMask.dim()));
    }
    beside("positionIds", positionIds, inputIds, true);
    beside("tokenTypeIds", tokenTypeIds, inputIds, false);
    beside("reach", reach, inputIds, false);
    if (decoderInputIds != null && decoderInputIds.size(0) != inputIds.size(0)) {
      throw new IllegalArgumentException(
          "decoderInputIds has %d rows but inputIds has %d; each text has one answer"
              .formatted(decoderInputIds.size(0), inputIds.size(0)));
    }
    if (reach != null && (attentionMask != null || cache != null)) {
      throw new IllegalArgumentException(
          "packed rows stand beside an attention mask or a cache, but they are for training: give"
              + " 0 for padding where you say which token is whose, and no cache");
    }
  }

  private static void beside(
      String name, @Nullable Tensor given, Tensor inputIds, boolean oneRowWillDo) {
    if (given == null) {
      return;
    }
    ids(name, given);
    boolean rows = given.size(0) == inputIds.size(0) || (oneRowWillDo && given.size(0) == 1);
    if (!rows || given.size(1) != inputIds.size(1)) {
      throw new IllegalArgumentException(
          "%s is [%d, %d] but inputIds is [%d, %d]; give one number a token"
              .formatted(name, given.size(0), given.size(1), inputIds.size(0), inputIds.size(1)));
    }
  }

  private static void ids(String name, Tensor ids) {
    if (ids.dim() != 2 || ids.scalar_type().intern() != ScalarType.Long) {
      throw new IllegalArgumentException(
          "%s has %d dimensions and dtype %s but must be int64 [batch, time]"
              .formatted(name, ids.dim(), ids.scalar_type().intern()));
    }
    if (ids.numel() == 0) {
      throw new IllegalArgumentException(name + " is empty; give at least one token a row");
    }
  }

  /** Refuses what a classifier can not judge: anything but whole rows of tokens. */
  void requireWholeRows(String modelType) {
    if (decoderInputIds != null || reach != null || cache != null) {
      throw new IllegalArgumentException(
          modelType
              + " scores whole rows: it takes neither decoder inputs nor packed rows nor a cache");
    }
  }

  /** Whole rows of one length. */
  public static ModelInputs of(Tensor inputIds) {
    return of(inputIds, null);
  }

  /** Rows padded on the right or on the left; the mask [B, T] is 0 at padding. */
  public static ModelInputs of(Tensor inputIds, @Nullable Tensor attentionMask) {
    return new ModelInputs(inputIds, attentionMask, null, null, null, null, null, null);
  }

  /**
   * Rows that hold several examples each.
   *
   * @param segments [B, T] int64: 0 at padding, then one number for the tokens of each example
   */
  public static ModelInputs packed(Tensor inputIds, Tensor segments) {
    beside("segments", segments, inputIds, false);
    return reaching(inputIds, PackedRows.reach(segments));
  }

  /** Rows that hold several examples each, whose tokens reach so far, [B, T]. */
  public static ModelInputs reaching(Tensor inputIds, Tensor reach) {
    return new ModelInputs(inputIds, null, null, null, reach, null, null, null);
  }

  /** The next tokens [B, T] after those in the cache; the mask [B, past + T] or null. */
  public static ModelInputs next(Tensor inputIds, @Nullable Tensor attentionMask, KvCache cache) {
    return new ModelInputs(inputIds, attentionMask, null, null, null, null, null, cache);
  }

  /** A text [B, T] and the answer so far [B, U], for an encoder-decoder. */
  public static ModelInputs answering(
      Tensor inputIds, @Nullable Tensor attentionMask, Tensor decoderInputIds) {
    return new ModelInputs(inputIds, attentionMask, null, null, null, decoderInputIds, null, null);
  }

  /** The same with explicit positions, [B, T] or [1, T]. */
  public ModelInputs withPositions(@Nullable Tensor ids) {
    return new ModelInputs(
        inputIds,
        attentionMask,
        ids,
        tokenTypeIds,
        reach,
        decoderInputIds,
        decoderAttentionMask,
        cache);
  }

  /** The same with token types, [B, T]. */
  public ModelInputs withTokenTypes(@Nullable Tensor types) {
    return new ModelInputs(
        inputIds,
        attentionMask,
        positionIds,
        types,
        reach,
        decoderInputIds,
        decoderAttentionMask,
        cache);
  }

  /** The same with a mask for the decoder's tokens, [B, past + U]. */
  public ModelInputs withDecoderMask(@Nullable Tensor mask) {
    return new ModelInputs(
        inputIds, attentionMask, positionIds, tokenTypeIds, reach, decoderInputIds, mask, cache);
  }

  /** The same with a cache. */
  public ModelInputs withCache(@Nullable KvCache kept) {
    return new ModelInputs(
        inputIds,
        attentionMask,
        positionIds,
        tokenTypeIds,
        reach,
        decoderInputIds,
        decoderAttentionMask,
        kept);
  }
}
