package espalier.nn;

import static org.bytedeco.pytorch.global.torch.empty;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A weight in {@linkplain FourBit 4 bits} whose block scales are quantised too: 4.13 bits a value.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA: Efficient Finetuning of Quantized LLMs</a>
 */
public final class FourBitWeight extends BlockedWeight {

  private final FourBit form;
  private final Tensor packed; // [⌈out · in / 2⌉] uint8
  private final BlockScales scales;
  private final Tensor pairs; // [256], the two values of each byte as one int64

  private FourBitWeight(
      FourBit form,
      long out,
      long in,
      ScalarType dtype,
      Tensor packed,
      BlockScales scales,
      Tensor pairs) {
    super(out, in, dtype, FourBitBlocks.BLOCK);
    this.form = form;
    this.packed = Scope.own(packed);
    this.scales = scales;
    this.pairs = Scope.own(pairs);
  }

  /**
   * Quantises a weight.
   *
   * @param weight [out, in] of any floating dtype, all finite
   * @param form what codes stand for
   * @param dtype of products with the result
   */
  public static FourBitWeight quantise(Tensor weight, FourBit form, ScalarType dtype) {
    requireMatrix(weight);
    try (var _ = new PointerScope()) {
      long out = weight.size(0);
      long in = weight.size(1);
      Tensor flat = weight.detach().contiguous().view(-1);
      long n = flat.numel();
      Tensor packed = bytes((n + 1) / 2, weight);
      Tensor absmax =
          flat.new_empty((n + FourBitBlocks.BLOCK - 1) / FourBitBlocks.BLOCK).to(ScalarType.Float);
      // By parts, because the codes are int64 on their way and take 16 times the result.
      for (long from = 0; from < n; from += PART) {
        try (var _ = new PointerScope()) {
          long count = Math.min(PART, n - from);
          FourBitBlocks part = form.quantise(flat.narrow(0, from, count));
          packed.narrow(0, from / 2, (count + 1) / 2).copy_(part.packed());
          absmax
              .narrow(
                  0,
                  from / FourBitBlocks.BLOCK,
                  (count + FourBitBlocks.BLOCK - 1) / FourBitBlocks.BLOCK)
              .copy_(part.absmax());
        }
      }
      return new FourBitWeight(
          form, out, in, dtype.intern(), packed, BlockScales.quantise(absmax), form.pairs(packed));
    }
  }

  private static Tensor bytes(long count, Tensor like) {
    return empty(
        new long[] {count},
        new TensorOptions(ScalarType.Byte).device(new DeviceOptional(like.device())),
        new MemoryFormatOptional());
  }

  @Override
  public String format() {
    return form.key();
  }

  @Override
  public long bytes() {
    return packed.nbytes() + scales.bytes();
  }

  @Override
  Tensor stored() {
    return packed;
  }

  /** The codes, two a byte, the first one in the high four bits. */
  Tensor packed() {
    return packed;
  }

  // One look-up gives both values of a byte: measured at half of the time of two.
  @Override
  void decodeBlocks(long from, Tensor to) {
    long n = to.numel();
    long bytes = (n + 1) / 2;
    Tensor values =
        pairs
            .index_select(0, packed.narrow(0, from / 2, bytes).to(ScalarType.Int))
            .view(ScalarType.Float);
    Tensor factors =
        scales.decode(
            from / FourBitBlocks.BLOCK, (n + FourBitBlocks.BLOCK - 1) / FourBitBlocks.BLOCK);
    scale(values.narrow(0, 0, n), factors, FourBitBlocks.BLOCK, to);
  }

  @Override
  public QuantisedWeight requantised(Tensor weight) {
    return quantise(weight, form, dtype());
  }

  @Override
  public QuantisedWeight withDtype(ScalarType dtype) {
    return new FourBitWeight(form, out(), in(), dtype.intern(), packed, scales.share(), pairs);
  }

  @Override
  public void close() {
    packed.close();
    scales.close();
    pairs.close();
  }
}
