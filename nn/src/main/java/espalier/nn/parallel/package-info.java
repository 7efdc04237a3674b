/**
 * Several ranks compute one model together. Read {@link espalier.nn.parallel.ParallelPlan} first.
 */
package espalier.nn.parallel;
