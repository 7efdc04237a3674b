package espalier.serving;

/** When a beam search ends once it has as many answers as it has beams. */
public enum EarlyStopping {
  /** When the best running beam would not be among them if it ended now; the usual way. */
  FALSE,
  /** At once. */
  TRUE,
  /**
   * When no running beam can get among them any more, however long it gets; with a length penalty
   * of 0 or less this is the search of the textbooks.
   */
  NEVER
}
