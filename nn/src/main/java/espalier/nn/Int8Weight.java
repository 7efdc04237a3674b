package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A weight in {@linkplain Int8Rows int8 with one scale a row}: 8 bits a value. */
public final class Int8Weight extends BlockedWeight {

  private final Tensor codes; // [out, in] int8
  private final Tensor scale; // [out] float32

  private Int8Weight(ScalarType dtype, Tensor codes, Tensor scale) {
    super(codes.size(0), codes.size(1), dtype, codes.size(1));
    this.codes = Scope.own(codes);
    this.scale = Scope.own(scale);
  }

  /**
   * Quantises a weight.
   *
   * @param weight [out, in] of any floating dtype, all finite
   * @param dtype of products with the result
   */
  public static Int8Weight quantise(Tensor weight, ScalarType dtype) {
    requireMatrix(weight);
    try (var _ = new PointerScope()) {
      Int8Rows rows = Int8Rows.quantise(weight);
      return new Int8Weight(dtype.intern(), rows.codes().contiguous(), rows.scale());
    }
  }

  @Override
  public String format() {
    return "int8";
  }

  @Override
  public long bytes() {
    return codes.nbytes() + scale.nbytes();
  }

  @Override
  Tensor stored() {
    return codes;
  }

  /** The codes, [out, in] int8. */
  Tensor codes() {
    return codes;
  }

  @Override
  void decodeBlocks(long from, Tensor to) {
    Tensor values = codes.view(-1).narrow(0, from, to.numel()).to(ScalarType.Float);
    long rows = (to.numel() + in() - 1) / in();
    scale(values, scale.narrow(0, from / in(), rows), in(), to);
  }

  @Override
  public QuantisedWeight requantised(Tensor weight) {
    return quantise(weight, dtype());
  }

  @Override
  public QuantisedWeight withDtype(ScalarType dtype) {
    return new Int8Weight(dtype.intern(), codes, scale);
  }

  @Override
  public void close() {
    codes.close();
    scale.close();
  }
}
