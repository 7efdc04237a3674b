package espalier.training;

/** A prompt and what should follow it. */
public record PromptCompletionRow(String prompt, String completion, RowSource source)
    implements Row {}
