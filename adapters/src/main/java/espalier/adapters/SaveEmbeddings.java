package espalier.adapters;

/** Whether the base's embeddings are saved along with an adapter. */
public enum SaveEmbeddings {
  /**
   * If the adapter is on them and trains no rows of theirs by themselves, or if the model has
   * another number of tokens than its config on disk.
   */
  AUTO,
  /** Always. */
  YES,
  /** Never. */
  NO
}
