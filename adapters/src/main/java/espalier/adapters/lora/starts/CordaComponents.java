package espalier.adapters.lora.starts;

import espalier.adapters.calibration.Svd;
import espalier.nn.Scope;
import org.bytedeco.pytorch.Tensor;

/**
 * Some terms of W = U·diag(S)·Vᵀ with the orthonormal directions U where W meets the covariance C
 * of its inputs: the decomposition of W·C, with C taken back from the right vectors.
 *
 * @param u [out, r]
 * @param s [r], largest first
 * @param v [in, r]
 */
record CordaComponents(Tensor u, Tensor s, Tensor v) implements AutoCloseable {

  /**
   * The r largest or the r smallest of the min(out, in) components.
   *
   * @param weight [out, in], float32
   */
  static CordaComponents of(Tensor weight, DampedCovariance damped, long r, boolean smallest) {
    Svd all = Svd.of(weight.matmul(damped.covariance()));
    long from = smallest ? all.size() - r : 0;
    // Copied, so that the others can be freed.
    return new CordaComponents(
        all.u().narrow(1, from, r).clone(),
        all.s().narrow(0, from, r).clone(),
        all.vt().narrow(0, from, r).matmul(damped.inverse()).t().contiguous());
  }

  /** The same, out of all scopes, to be closed. */
  CordaComponents owned() {
    return new CordaComponents(Scope.own(u), Scope.own(s), Scope.own(v));
  }

  @Override
  public void close() {
    u.close();
    s.close();
    v.close();
  }
}
