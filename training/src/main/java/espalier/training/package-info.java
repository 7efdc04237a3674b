/**
 * Begin with {@code Trainer}: it asks a {@link espalier.training.BatchPlan} for the examples of
 * each step and tells a {@link espalier.training.RunListener} what came of it. Data enters by
 * {@link espalier.training.Dataset} and becomes tokens in {@link espalier.training.Examples}.
 */
package espalier.training;
