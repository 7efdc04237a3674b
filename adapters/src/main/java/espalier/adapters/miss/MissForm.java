package espalier.adapters.miss;

/** Which form of MiSS is computed, and how it starts. */
public enum MissForm {
  /** One row a place in a shard of the input, zero at first. */
  BALANCED,
  /** The same, drawn. */
  DRAWN,
  /** One block repeated along the outputs ({@code mini}). */
  MINI,
  /** Blocks that multiply those of the weight ({@code bat}). */
  BAT
}
