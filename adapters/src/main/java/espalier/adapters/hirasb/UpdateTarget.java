package espalier.adapters.hirasb;

/** Which first step of full fine-tuning the bases are to hold. */
public enum UpdateTarget {
  /** The sign of the gradient, which is what an optimizer like Adam steps along: {@code sign}. */
  SIGN,
  /** The gradient itself, as gradient descent steps: {@code gradient}. */
  GRADIENT
}
