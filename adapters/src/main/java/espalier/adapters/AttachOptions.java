package espalier.adapters;

/**
 * How an adapter is attached.
 *
 * @param init where first values are drawn from
 * @param autocast whether the adapter is float32 beside a base in half precision; otherwise it has
 *     the base's dtype
 * @param strictTargets whether a name that matches no layer is an error and not a warning
 */
public record AttachOptions(InitSource init, boolean autocast, boolean strictTargets) {

  /** The normal case: a stream a layer from this seed, float32. */
  public static AttachOptions seeded(long seed) {
    return of(InitSource.seeded(seed));
  }

  /** The normal case with another source of first values. */
  public static AttachOptions of(InitSource init) {
    return new AttachOptions(init, true, false);
  }

  /** The same in float32, or in the base's dtype. */
  public AttachOptions withAutocast(boolean on) {
    return new AttachOptions(init, on, strictTargets);
  }

  /** The same with names that match no layer as errors. */
  public AttachOptions withStrictTargets(boolean on) {
    return new AttachOptions(init, autocast, on);
  }
}
