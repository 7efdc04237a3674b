package espalier.adapters;

/** Which biases of the base model train along with an adapter. */
public enum BiasTraining {
  /** None. */
  NONE,
  /** All of the model's. */
  ALL,
  /** Those of the layers that the adapter is on. */
  ADAPTED
}
