package espalier.training;

/** One row of training data, read and checked but not yet tokens. */
public sealed interface Row permits MessagesRow, PromptCompletionRow, TextRow, TokensRow {

  /** Where the row was read, for errors about it. */
  RowSource source();
}
