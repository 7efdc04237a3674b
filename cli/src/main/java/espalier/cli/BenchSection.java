package espalier.cli;

import tools.jackson.databind.node.ObjectNode;

/** One kind of measurement, made in a process of its own. */
@FunctionalInterface
interface BenchSection {

  /**
   * Measures.
   *
   * @param spec what is wanted
   * @param record where the results go
   */
  void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record);
}
