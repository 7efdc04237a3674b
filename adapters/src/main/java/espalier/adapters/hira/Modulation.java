package espalier.adapters.hira;

import espalier.adapters.gralora.BlockGrid;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A matrix M [m, n] that two factors stand for, formed and differentiated some rows at a time. */
sealed interface Modulation permits LowRank, Blockwise {

  /**
   * The modulation of two factors.
   *
   * @param p [m, r], or [b, r, m/b] for a grid of b × b blocks
   * @param q [r, n], or [b, n/b, r]
   */
  static Modulation of(Tensor p, Tensor q) {
    return q.dim() == 2 ? new LowRank(p, q) : new Blockwise(new BlockGrid(q, p));
  }

  /** The same matrix from factors of another dtype. */
  Modulation to(ScalarType dtype);

  /** Number of rows below each other that may be formed at once. */
  long together();

  /** Rows of M, [length, n]; they must not reach over a multiple of {@link #together}. */
  Tensor rows(long from, long length);

  /**
   * Adds to the gradients of the factors what the gradient of some rows of M means for them.
   *
   * @param from the first row
   * @param g [rows, n], in the dtype of the factors
   * @param dp gradient of P, overwritten where these rows stand
   * @param dq gradient of Q, added to
   */
  void backward(long from, Tensor g, Tensor dp, Tensor dq);

  /**
   * x (W ⊙ M)ᵀ for one token, or x (W ⊙ (1 + M))ᵀ, which reads W once and forms no matrix of its
   * size.
   *
   * @param w [m, n]
   * @param x [1, n]
   * @return [1, m]
   */
  Tensor token(Tensor w, Tensor x, boolean plusOne);
}
