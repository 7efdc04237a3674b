package espalier.adapters.lycoris;

import static org.bytedeco.pytorch.global.torch.rand;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What is left out of a branch in training.
 *
 * @param ofRank probability that an output feature is dropped
 * @param ofModule probability that the whole branch is
 * @param kept whether those that stay are raised by as much as the others take away
 */
public record LycorisDropout(double ofRank, double ofModule, boolean kept) {

  boolean any() {
    return ofRank > 0 || ofModule > 0;
  }

  /** Whether the branch takes part this time. */
  boolean takesPart() {
    // one number a layer and step; the reference draws it on the host as well
    return ofModule == 0 || rand(new long[] {1}).item_double() > ofModule;
  }

  /**
   * Factors on the output features, or null for none.
   *
   * @return [out], in the dtype of {@code like}
   */
  @Nullable Tensor mask(long out, Tensor like) {
    if (ofRank == 0) {
      return null;
    }
    Tensor stays = rand(new long[] {out}).gt(new Scalar(ofRank)).to(like.device(), like.dtype());
    // where nothing stays the reference divides zero by zero
    return kept ? stays.div(stays.mean().clamp_min(new Scalar(1e-6))) : stays;
  }
}
