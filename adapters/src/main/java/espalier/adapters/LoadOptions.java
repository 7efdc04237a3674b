package espalier.adapters;

import java.util.Map;

/**
 * How saved tensors are loaded.
 *
 * @param trainable whether the adapter is to be trained on; otherwise it is for use only
 * @param autocast whether the adapter is float32 beside a base in half precision; otherwise it has
 *     the base's dtype
 * @param strict whether a missing tensor is an error and not a warning
 * @param ignoreMismatched whether tensors of a wrong shape are passed over with a warning
 * @param keyMapping regular expressions and their replacements, both as Python writes them, applied
 *     to the keys without {@code base_model.model.}; the first that changes a key counts, so give a
 *     map that keeps its order
 */
public record LoadOptions(
    boolean trainable,
    boolean autocast,
    boolean strict,
    boolean ignoreMismatched,
    Map<String, String> keyMapping) {

  /** For use only, float32, with a warning about what is missing. */
  public static LoadOptions defaults() {
    return new LoadOptions(false, true, false, false, Map.of());
  }

  /** The same to be trained on, or for use only. */
  public LoadOptions withTrainable(boolean on) {
    return new LoadOptions(on, autocast, strict, ignoreMismatched, keyMapping);
  }

  /** The same in float32, or in the base's dtype. */
  public LoadOptions withAutocast(boolean on) {
    return new LoadOptions(trainable, on, strict, ignoreMismatched, keyMapping);
  }

  /** The same with missing tensors as errors, or as warnings. */
  public LoadOptions withStrict(boolean on) {
    return new LoadOptions(trainable, autocast, on, ignoreMismatched, keyMapping);
  }

  /** The same with wrong shapes passed over, or as errors. */
  public LoadOptions withIgnoreMismatched(boolean on) {
    return new LoadOptions(trainable, autocast, strict, on, keyMapping);
  }

  /** The same with other keys. */
  public LoadOptions withKeyMapping(Map<String, String> mapping) {
    return new LoadOptions(trainable, autocast, strict, ignoreMismatched, mapping);
  }
}
