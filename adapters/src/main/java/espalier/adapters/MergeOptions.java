package espalier.adapters;

/**
 * How adapters are merged.
 *
 * @param safe whether every entry of the merged weights must be finite
 * @param untieReplicas whether blocks that share their weights, as {@code layer_replication} makes
 *     them, get weights of their own; without it an adapter on them can not be merged
 * @param keepBackup whether the original weights are kept beside the merged ones, so that they come
 *     back bit for bit. Without it no memory is taken and unmerging divides, which rounds: for
 *     methods alone that multiply the weight, such as HiRA, in float32 and float64, and only if no
 *     entry is multiplied by less than 0.001
 * @param progress told of each layer
 */
public record MergeOptions(
    boolean safe, boolean untieReplicas, boolean keepBackup, MergeProgress progress) {

  /** With a copy of the originals, without the rest. */
  public static MergeOptions defaults() {
    return new MergeOptions(false, false, true, MergeProgress.SILENT);
  }

  /** The same with or without a look at every entry. */
  public MergeOptions withSafe(boolean on) {
    return new MergeOptions(on, untieReplicas, keepBackup, progress);
  }

  /** The same with or without weights of their own for repeated blocks. */
  public MergeOptions withUntieReplicas(boolean on) {
    return new MergeOptions(safe, on, keepBackup, progress);
  }

  /** The same with or without a copy of the original weights. */
  public MergeOptions withKeepBackup(boolean on) {
    return new MergeOptions(safe, untieReplicas, on, progress);
  }

  /** The same with somebody who is told of each layer. */
  public MergeOptions withProgress(MergeProgress listener) {
    return new MergeOptions(safe, untieReplicas, keepBackup, listener);
  }
}
