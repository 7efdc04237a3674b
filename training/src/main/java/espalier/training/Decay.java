package espalier.training;

/** Where the weight decay of Adam goes. */
public enum Decay {
  /** The parameter shrinks by rate · decay beside the step, as in AdamW. */
  DECOUPLED,
  /** decay · p is added to the gradient, as in Adam; large gradients then decay less. */
  IN_GRADIENT
}
