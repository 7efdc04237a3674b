/**
 * Read {@link espalier.parity.ParityTest} first: it runs every case folder of golden numbers. A
 * kind of case is an {@link espalier.parity.Experiment}, and {@link espalier.parity.Judge} compares
 * what it produced. {@link espalier.parity.StructureTest} holds the modules to their plan.
 */
@org.jspecify.annotations.NullMarked
package espalier.parity;
