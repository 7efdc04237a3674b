/**
 * Read {@link espalier.recipes.Recipe} first: what a user writes. {@link
 * espalier.recipes.TrainingRun} does what it says.
 */
package espalier.recipes;
