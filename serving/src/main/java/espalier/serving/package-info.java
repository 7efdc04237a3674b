/**
 * Read {@link espalier.serving.Generator} first, then {@link espalier.serving.Sampling}.
 *
 * <p>A generation is a batch of rows, each with its prompt, its adapter and its own random stream.
 * The prompts go through the model once, then one token a row and step.
 */
package espalier.serving;
