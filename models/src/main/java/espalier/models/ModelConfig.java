package espalier.models;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What others need to know of a model's {@code config.json}.
 *
 * @param modelType the family, as {@code model_type} has it
 * @param vocabulary rows of the token embedding
 * @param hidden width of the hidden states
 * @param layers number of blocks; of the decoder in an encoder-decoder
 * @param heads query heads
 * @param kvHeads key and value heads
 * @param headDim width of one head
 * @param maxPositions longest sequence that the config names, in tokens, or 0 if it names none
 * @param labels number of classes of a classifier, else 0
 * @param tokens the ids with a meaning
 * @param raw the whole {@code config.json}
 * @param unread fields that are neither honoured nor known to be harmless nor known to matter
 */
public record ModelConfig(
    String modelType,
    Task task,
    int vocabulary,
    int hidden,
    int layers,
    int heads,
    int kvHeads,
    int headDim,
    int maxPositions,
    int labels,
    Tokens tokens,
    Map<String, @Nullable Object> raw,
    Set<String> unread) {

  /** The same with another number of blocks; {@link #raw} stays what the file says. */
  ModelConfig withLayers(int number) {
    return new ModelConfig(
        modelType,
        task,
        vocabulary,
        hidden,
        number,
        heads,
        kvHeads,
        headDim,
        maxPositions,
        labels,
        tokens,
        raw,
        unread);
  }

  /** The same with another number of tokens; {@link #raw} stays what the file says. */
  ModelConfig withVocabulary(int number) {
    return new ModelConfig(
        modelType,
        task,
        number,
        hidden,
        layers,
        heads,
        kvHeads,
        headDim,
        maxPositions,
        labels,
        tokens,
        raw,
        unread);
  }

  /**
   * Token ids with a meaning.
   *
   * @param pad fills up short rows, or null
   * @param begin starts a text, or null
   * @param end each of these ends a text
   * @param decoderStart the first input of a decoder that follows an encoder, or null
   */
  public record Tokens(
      @Nullable Integer pad,
      @Nullable Integer begin,
      List<Integer> end,
      @Nullable Integer decoderStart) {}
}
