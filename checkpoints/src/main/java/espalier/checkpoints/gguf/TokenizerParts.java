package espalier.checkpoints.gguf;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The parts of a {@code tokenizer.json} that depend on the kind of tokenizer, as JSON values.
 *
 * @param addedTokens tokens that are found whole in a text before anything else happens to it
 * @param normalizer what a text is changed to first
 * @param preTokenizer how it is cut into words
 * @param model vocabulary and merges
 * @param decoder how tokens become text again
 * @param defaults of the special tokens where the file names none
 */
record TokenizerParts(
    List<Map<String, Object>> addedTokens,
    @Nullable Map<String, Object> normalizer,
    @Nullable Map<String, Object> preTokenizer,
    Map<String, Object> model,
    Map<String, Object> decoder,
    Defaults defaults) {

  /**
   * What holds where the file does not say.
   *
   * @param addBos whether a text begins with the BOS token
   * @param bos id of that token, if there is a usual one
   * @param eos id of the token that ends a text
   * @param unk id of the token for what the vocabulary lacks
   */
  record Defaults(boolean addBos, @Nullable Long bos, @Nullable Long eos, @Nullable Long unk) {

    static final Defaults NONE = new Defaults(false, null, null, null);
  }
}
