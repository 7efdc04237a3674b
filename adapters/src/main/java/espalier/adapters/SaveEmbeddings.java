package espalier.adapters;

/** Whether the base's embeddings are saved along with an adapter. */
public enum SaveEmbeddings {
  /** If the adapter is on them. */
  AUTO,
  /** Always. */
  YES,
  /** Never. */
  NO
}
