package espalier.adapters;

/** How an adapter is saved whose start took something out of the base, such as PiSSA. */
public enum SaveStart {
  /** As trained where loading repeats the start, else as {@link #PLAIN} where that can be. */
  AUTO,
  /** As trained, for the base from which the start is taken out again when it is loaded. */
  AS_TRAINED,
  /** As an adapter for the untouched base, of twice the rank. */
  PLAIN
}
