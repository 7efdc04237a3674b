package espalier.nn;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A few entries of a weight, and what an adapter adds to them.
 *
 * @param positions flat row-major positions in {@link Adaptable#weight()}, int32 or int64 [K],
 *     ascending and distinct
 * @param values what is added before the factor, [K]
 * @param factor what the values are multiplied by
 */
public record Entries(Tensor positions, Tensor values, double factor) {

  /** The present entries of a weight, [K] in its dtype. */
  public Tensor of(Tensor weight) {
    return weight.is_contiguous()
        ? weight.view(-1).index_select(0, positions)
        : weight.take(wide());
  }

  /** Entries with the values added: computed in float32 or wider, and rounded once. */
  public Tensor added(Tensor before) {
    Tensor wide = HalfPrecision.widened(before);
    Tensor delta = values.to(wide.scalar_type().intern());
    return wide.add(delta, new Scalar(factor)).to(before.scalar_type().intern());
  }

  /** Writes entries [K] into a weight. */
  public void write(Tensor weight, Tensor entries) {
    if (weight.is_contiguous()) {
      weight.view(-1).index_copy_(0, wide(), entries);
    } else {
      weight.put_(wide(), entries, false);
    }
  }

  private Tensor wide() {
    return positions.to(ScalarType.Long); // the library writes at int64 positions only
  }
}
