/** Programs to start from; {@link espalier.examples.FineTune} is the shortest. */
package espalier.examples;
