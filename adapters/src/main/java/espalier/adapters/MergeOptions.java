package espalier.adapters;

/**
 * How adapters are merged.
 *
 * @param safe whether every entry of the merged weights must be finite
 * @param untieReplicas whether blocks that share their weights, as {@code layer_replication} makes
 *     them, get weights of their own; without it an adapter on them can not be merged
 */
public record MergeOptions(boolean safe, boolean untieReplicas) {

  /** Neither. */
  public static MergeOptions defaults() {
    return new MergeOptions(false, false);
  }

  /** The same with or without a look at every entry. */
  public MergeOptions withSafe(boolean on) {
    return new MergeOptions(on, untieReplicas);
  }

  /** The same with or without weights of their own for repeated blocks. */
  public MergeOptions withUntieReplicas(boolean on) {
    return new MergeOptions(safe, on);
  }
}
