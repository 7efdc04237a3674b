package espalier.nn;

/** The root of a model whose forward passes go through a {@link ForwardLock}. */
public interface Steady {

  /** The lock that every forward pass of this model holds. */
  ForwardLock forwardLock();
}
