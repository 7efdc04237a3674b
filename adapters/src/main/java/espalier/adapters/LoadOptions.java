package espalier.adapters;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

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
 * @param device where the adapter is to lie, such as {@code cpu}, or null for where the base does;
 *     an adapter can not lie elsewhere than its base
 * @param ephemeralOffload whether what a start works out of base weights on the CPU is moved to a
 *     GPU for the time being; without a GPU it has no effect, and nothing depends on it
 * @param lowMemory whether the adapter's tensors take no memory before the file fills them. One
 *     that the file lacks is then not drawn anew: to compute with it is a {@link
 *     StateMismatchException}.
 */
public record LoadOptions(
    boolean trainable,
    boolean autocast,
    boolean strict,
    boolean ignoreMismatched,
    Map<String, String> keyMapping,
    @Nullable String device,
    boolean ephemeralOffload,
    boolean lowMemory) {

  private static final LoadOptions DEFAULTS =
      new LoadOptions(false, true, false, false, Map.of(), null, false, false);

  /** Copies the map in its order. */
  public LoadOptions {
    keyMapping = Collections.unmodifiableMap(new LinkedHashMap<>(keyMapping));
  }

  /** For use only, float32, where the base lies, with a warning about what is missing. */
  public static LoadOptions defaults() {
    return DEFAULTS;
  }

  /** The same to be trained on, or for use only. */
  public LoadOptions withTrainable(boolean on) {
    return new LoadOptions(
        on, autocast, strict, ignoreMismatched, keyMapping, device, ephemeralOffload, lowMemory);
  }

  /** The same in float32, or in the base's dtype. */
  public LoadOptions withAutocast(boolean on) {
    return new LoadOptions(
        trainable, on, strict, ignoreMismatched, keyMapping, device, ephemeralOffload, lowMemory);
  }

  /** The same with missing tensors as errors, or as warnings. */
  public LoadOptions withStrict(boolean on) {
    return new LoadOptions(
        trainable, autocast, on, ignoreMismatched, keyMapping, device, ephemeralOffload, lowMemory);
  }

  /** The same with wrong shapes passed over, or as errors. */
  public LoadOptions withIgnoreMismatched(boolean on) {
    return new LoadOptions(
        trainable, autocast, strict, on, keyMapping, device, ephemeralOffload, lowMemory);
  }

  /** The same with other keys. */
  public LoadOptions withKeyMapping(Map<String, String> mapping) {
    return new LoadOptions(
        trainable,
        autocast,
        strict,
        ignoreMismatched,
        mapping,
        device,
        ephemeralOffload,
        lowMemory);
  }

  /** The same on a named device, or on that of the base. */
  public LoadOptions withDevice(@Nullable String name) {
    return new LoadOptions(
        trainable,
        autocast,
        strict,
        ignoreMismatched,
        keyMapping,
        name,
        ephemeralOffload,
        lowMemory);
  }

  /** The same with or without a GPU for what the start works out. */
  public LoadOptions withEphemeralOffload(boolean on) {
    return new LoadOptions(
        trainable, autocast, strict, ignoreMismatched, keyMapping, device, on, lowMemory);
  }

  /** The same with tensors that take no memory before the file fills them, or with their own. */
  public LoadOptions withLowMemory(boolean on) {
    return new LoadOptions(
        trainable, autocast, strict, ignoreMismatched, keyMapping, device, ephemeralOffload, on);
  }
}
