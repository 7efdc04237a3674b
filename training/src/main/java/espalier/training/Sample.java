package espalier.training;

import org.jspecify.annotations.Nullable;

/**
 * A question, and what the model says to it.
 *
 * @param before the answer before training, if it was asked
 * @param after the answer after training, if it was asked
 */
public record Sample(String prompt, @Nullable String before, @Nullable String after) {}
