package espalier.nn;

import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * One of the two products of a {@link MultiheadAttention}: queries, keys and values in one [3E, E],
 * or the output [E, E].
 */
public final class AttentionProjection extends Linear {

  /** What the output product is called below the attention. */
  static final String OUTPUT = "out_proj";

  private final boolean packed;

  private AttentionProjection(
      boolean packed, String weightName, Tensor weight, String biasName, @Nullable Tensor bias) {
    super(weightName, weight, biasName, bias);
    this.packed = packed;
  }

  static AttentionProjection packed(Tensor weight, @Nullable Tensor bias) {
    return new AttentionProjection(true, "in_proj_weight", weight, "in_proj_bias", bias);
  }

  static AttentionProjection output(Tensor weight, @Nullable Tensor bias) {
    return new AttentionProjection(false, "weight", weight, "bias", bias);
  }

  /** Whether it is the product that gives queries, keys and values at once. */
  public boolean packed() {
    return packed;
  }

  /** An adapter on the packed product stands for the whole attention, so the output has one too. */
  @Override
  public List<String> partners() {
    return packed ? List.of(OUTPUT) : List.of();
  }

  @Override
  public String typeName() {
    return packed ? "MultiheadAttention" : "Linear";
  }
}
