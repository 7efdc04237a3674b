package espalier.nn;

import org.bytedeco.pytorch.Tensor;

/**
 * What a merge multiplied a weight by, entry by entry, kept as the factors that it is made of, so
 * that it can be divided out again without a copy of the weight.
 */
public interface WeightMultiplier extends AutoCloseable {

  /**
   * The multiplier without its 1: a merge made W ⊙ (1 + M) of the original W, this is M.
   *
   * @return in the shape of {@link Adaptable#weight()}, float32 or wider
   */
  Tensor lessOne();

  @Override
  void close();
}
