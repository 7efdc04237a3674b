package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A weight in 4 bits with a scale and a zero point for each group of inputs of a row, as GPTQ
 * stores it: a value is scale · (code − zero). The zero points are float32 and not integers, so
 * that a change which is constant over a group, as QALoRA's, can be merged into them exactly.
 *
 * @see <a href="https://arxiv.org/abs/2210.17323">GPTQ</a>
 */
public final class Int4Weight extends BlockedWeight {

  private static final int LARGEST = 15;

  private final long group;
  private final Tensor packed; // [⌈out · in / 2⌉] uint8, two codes each, the first in the high bits
  private final Tensor scale; // [out, in / group] float32
  private final Tensor zero; // [out, in / group] float32
  private final Tensor pairs; // [256], the two codes of each byte as one int64 of two floats

  private Int4Weight(
      long in,
      long group,
      ScalarType dtype,
      Tensor packed,
      Tensor scale,
      Tensor zero,
      Tensor pairs) {
    super(scale.size(0), in, dtype, group);
    this.group = group;
    this.packed = Scope.own(packed);
    this.scale = Scope.own(scale);
    this.zero = Scope.own(zero);
    this.pairs = Scope.own(pairs);
  }

  /**
   * Quantises a weight, each value to the nearest code between the smallest and the largest value
   * of its group.
   *
   * @param weight [out, in] of any floating dtype, all finite
   * @param dtype of products with the result
   * @param group inputs that share a scale and a zero point, an even number that divides in
   */
  public static Int4Weight quantise(Tensor weight, ScalarType dtype, long group) {
    requireMatrix(weight);
    long in = weight.size(1);
    if (group < 2 || group % 2 != 0 || in % group != 0) {
      throw new IllegalArgumentException(
          "a group is %d inputs but must be an even number that divides the %d inputs of the layer"
              .formatted(group, in));
    }
    try (var _ = new PointerScope()) {
      Tensor wide = weight.detach().to(ScalarType.Float).contiguous().view(-1, in / group, group);
      Tensor low = wide.amin(new long[] {2}, false);
      Tensor range = wide.amax(new long[] {2}, false).sub(low);
      // A group of equal values is that value: code 0 with a zero point of −value.
      Tensor scale = range.div(new Scalar(LARGEST)).masked_fill_(range.eq(new Scalar(0)), one());
      Tensor zero = low.neg().div_(scale);
      Tensor codes =
          wide.div(scale.unsqueeze(2))
              .add_(zero.unsqueeze(2))
              .round_()
              .clamp_(new ScalarOptional(new Scalar(0)), new ScalarOptional(new Scalar(LARGEST)))
              .to(ScalarType.Byte)
              .view(-1, 2);
      Tensor packed = codes.select(1, 0).mul(new Scalar(16)).add(codes.select(1, 1));
      return new Int4Weight(in, group, dtype.intern(), packed, scale, zero, pairs(packed));
    }
  }

  private static Scalar one() {
    return new Scalar(1);
  }

  private static Tensor pairs(Tensor like) {
    var codes = new float[LARGEST + 1];
    for (int code = 0; code <= LARGEST; code++) {
      codes[code] = code;
    }
    return FourBit.pairs(codes, like);
  }

  /** Inputs that share a scale and a zero point. */
  public long group() {
    return group;
  }

  /**
   * The same weight with a constant added to each group of a row, exactly: its zero points are
   * moved.
   *
   * @param delta [out, in / group] float32
   * @return a weight that shares codes and scales with this one
   */
  public Int4Weight plus(Tensor delta) {
    try (var _ = new PointerScope()) {
      return new Int4Weight(in(), group, dtype(), packed, scale, zero.sub(delta.div(scale)), pairs);
    }
  }

  @Override
  public String format() {
    return "int4";
  }

  @Override
  public long bytes() {
    return packed.nbytes() + scale.nbytes() + zero.nbytes();
  }

  @Override
  Tensor stored() {
    return packed;
  }

  @Override
  void decodeBlocks(long from, Tensor to) {
    long n = to.numel();
    Tensor values =
        pairs
            .index_select(0, packed.narrow(0, from / 2, (n + 1) / 2).to(ScalarType.Int))
            .view(ScalarType.Float);
    long groups = (n + group - 1) / group;
    Tensor zeros = zero.view(-1).narrow(0, from / group, groups);
    long whole = n / group * group;
    if (whole > 0) {
      values
          .narrow(0, 0, whole)
          .view(-1, group)
          .sub_(zeros.narrow(0, 0, whole / group).unsqueeze(1));
    }
    if (whole < n) {
      values.narrow(0, whole, n - whole).sub_(zeros.narrow(0, whole / group, 1));
    }
    scale(values.narrow(0, 0, n), scale.view(-1).narrow(0, from / group, groups), group, to);
  }

  /** Null: values that are not constant over a group would have to be rounded anew. */
  @Override
  public @Nullable QuantisedWeight requantised(Tensor weight) {
    return null;
  }

  @Override
  public boolean writable() {
    return false;
  }

  @Override
  public QuantisedWeight withDtype(ScalarType dtype) {
    return new Int4Weight(in(), group, dtype.intern(), packed, scale, zero, pairs);
  }

  @Override
  public void close() {
    packed.close();
    scale.close();
    zero.close();
    pairs.close();
  }
}
