package espalier.parity;

/** Carries out the cases of one kind. */
@FunctionalInterface
interface Experiment {

  /** Runs inside a graph scope that the caller opened; tensors that come back live in it. */
  Outcome run(Case golden);
}
