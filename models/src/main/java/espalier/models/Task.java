package espalier.models;

/** What a model's head answers, spelled as PEFT's {@code task_type} has it. */
public enum Task {
  /** The next token of a sequence. */
  CAUSAL_LM,
  /** One label for a sequence. */
  SEQ_CLS,
  /** The next token of an answer to a sequence. */
  SEQ_2_SEQ_LM
}
