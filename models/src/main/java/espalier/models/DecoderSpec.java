package espalier.models;

import java.util.List;

/**
 * A stack of blocks as data: a decoder, or the encoder of BERT and T5.
 *
 * @param embedding the token embedding
 * @param hidden width of the hidden states
 * @param causal whether a token sees only those before it
 * @param names paths of the stack's parts, from the root
 * @param blockNames paths of a block's parts, from the block
 */
record DecoderSpec(
    EmbeddingSpec embedding,
    int hidden,
    Position position,
    boolean causal,
    Norm norm,
    Norm.Placement placement,
    List<BlockSpec> blocks,
    Dropouts dropouts,
    Names names,
    Names blockNames) {

  /**
   * A token embedding.
   *
   * @param vocabulary rows
   * @param width columns; where it is not the hidden width, a projection follows
   * @param scale factor on its output
   * @param paddingIndex the row that gets no gradient, or -1
   * @param tokenTypes rows of the table of token types, or 0
   */
  record EmbeddingSpec(
      int vocabulary, int width, double scale, long paddingIndex, int tokenTypes) {}
}
