package espalier.adapters;

import java.util.Collection;
import java.util.List;

/**
 * How an adapter is attached.
 *
 * @param init where first values are drawn from
 * @param autocast whether the adapter is float32 beside a base in half precision; otherwise it has
 *     the base's dtype
 * @param strictTargets whether a name that matches no layer is an error and not a warning
 * @param keys keys of an adapter's file that name the layers in the place of the config's targets;
 *     empty if the config does
 * @param lowMemory whether the adapter's tensors take no memory until they are filled from a file;
 *     to compute with one that was not is a {@link StateMismatchException} that names it
 */
public record AttachOptions(
    InitSource init,
    boolean autocast,
    boolean strictTargets,
    List<String> keys,
    boolean lowMemory) {

  /** Copies the keys. */
  public AttachOptions {
    keys = List.copyOf(keys);
  }

  /** The normal case: a stream a layer from this seed, float32. */
  public static AttachOptions seeded(long seed) {
    return of(InitSource.seeded(seed));
  }

  /** The normal case with another source of first values. */
  public static AttachOptions of(InitSource init) {
    return new AttachOptions(init, true, false, List.of(), false);
  }

  /** For an adapter that draws nothing and takes no memory until a file fills it. */
  public static AttachOptions unfilled() {
    return of(InitSource.blank()).withLowMemory(true);
  }

  /** The same with tensors that take no memory until they are filled, or with their own. */
  public AttachOptions withLowMemory(boolean on) {
    return new AttachOptions(init, autocast, strictTargets, keys, on);
  }

  /** The same in float32, or in the base's dtype. */
  public AttachOptions withAutocast(boolean on) {
    return new AttachOptions(init, on, strictTargets, keys, lowMemory);
  }

  /** The same with names that match no layer as errors. */
  public AttachOptions withStrictTargets(boolean on) {
    return new AttachOptions(init, autocast, on, keys, lowMemory);
  }

  /**
   * The same on exactly the layers that keys of an adapter's file name, whatever the config says.
   * The tensors' values do not matter.
   *
   * @param keys with or without {@code base_model.model.}
   */
  public AttachOptions withKeys(Collection<String> keys) {
    return new AttachOptions(init, autocast, strictTargets, List.copyOf(keys), lowMemory);
  }
}
