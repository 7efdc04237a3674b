package espalier.nn;

import static org.bytedeco.pytorch.global.torch.bucketize;
import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A tensor in 4 bits: row by row in blocks of 64 values, each the nearest of {@linkplain FourBit
 * sixteen values} times the block's largest magnitude. The scales of the blocks are float32; {@link
 * FourBitWeight} quantises them a second time.
 *
 * <p>The handles of a value belong to the scope in which it was made; see {@link Scope#own}.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA: Efficient Finetuning of Quantized LLMs</a>
 */
public final class FourBitBlocks {

  /** Values that share one scale. */
  public static final int BLOCK = 64;

  /** Below this a reciprocal is no longer a number. */
  private static final double TINY = 1e-38;

  private final FourBit form;
  private final Tensor packed; // [⌈n / 2⌉] uint8
  private final Tensor absmax; // [⌈n / 64⌉] float32
  private final long[] shape;

  private FourBitBlocks(FourBit form, Tensor packed, Tensor absmax, long[] shape) {
    this.form = form;
    this.packed = packed;
    this.absmax = absmax;
    this.shape = shape.clone();
  }

  static FourBitBlocks quantise(Tensor tensor, FourBit form) {
    long n = tensor.numel();
    Tensor flat = tensor.detach().to(ScalarType.Float).reshape(-1);
    Tensor blocks = padded(flat, BLOCK).view(-1, BLOCK);
    Tensor absmax = blocks.abs().amax(new long[] {1}, false);
    // Multiplied by the reciprocal, as the CUDA kernels that the forms come from do: the rounding
    // decides on which side of a border a value lies. A block of zeros stays zero.
    Tensor scaled =
        blocks.mul(absmax.clamp_min(new Scalar(TINY)).reciprocal().unsqueeze(1)).view(-1);
    Tensor places = bucketize(scaled.narrow(0, 0, n), form.borders(tensor), true, false);
    Tensor pairs = padded(form.codes(places), 2).view(-1, 2);
    Tensor packed = pairs.select(1, 0).mul(new Scalar(16)).add(pairs.select(1, 1));
    return new FourBitBlocks(form, packed, absmax, tensor.shape());
  }

  /**
   * A tensor that is quantised already.
   *
   * @param form what the codes stand for
   * @param packed [⌈n / 2⌉] uint8, two codes each, the first one in the high four bits
   * @param absmax [⌈n / 64⌉] float32, the scale of each block
   * @param shape of the tensor of n values
   * @throws IllegalArgumentException if the sizes do not belong together
   */
  public static FourBitBlocks of(FourBit form, Tensor packed, Tensor absmax, long... shape) {
    long n = 1;
    for (long size : shape) {
      n *= size;
    }
    if (packed.numel() != (n + 1) / 2 || absmax.numel() != (n + BLOCK - 1) / BLOCK) {
      throw new IllegalArgumentException(
          "%d values in %s are %d bytes and %d scales but there are %d and %d; the parts are of different tensors"
              .formatted(
                  n,
                  form.key(),
                  (n + 1) / 2,
                  (n + BLOCK - 1) / BLOCK,
                  packed.numel(),
                  absmax.numel()));
    }
    return new FourBitBlocks(form, packed.reshape(-1), absmax.reshape(-1), shape);
  }

  /** The codes, [⌈n / 2⌉] uint8, two each, the first one in the high four bits. */
  public Tensor packed() {
    return packed;
  }

  /** The scale of each block, [⌈n / 64⌉] float32. */
  public Tensor absmax() {
    return absmax;
  }

  /** The shape of the tensor. */
  public long[] shape() {
    return shape.clone();
  }

  /** The values that the codes stand for, [...] float32. */
  public Tensor dequantise() {
    long n = 1;
    for (long size : shape) {
      n *= size;
    }
    Tensor codes = packed.new_empty(new long[] {packed.numel(), 2});
    codes.select(1, 0).copy_(packed.bitwise_right_shift(new Scalar(4)));
    codes.select(1, 1).copy_(packed.bitwise_and(new Scalar(15)));
    Tensor values =
        form.table(packed).index_select(0, codes.view(-1).narrow(0, 0, n).to(ScalarType.Int));
    return padded(values, BLOCK)
        .view(-1, BLOCK)
        .mul(absmax.unsqueeze(1))
        .view(-1)
        .narrow(0, 0, n)
        .view(shape);
  }

  private static Tensor padded(Tensor flat, long multiple) {
    long over = flat.numel() % multiple;
    return over == 0 ? flat : constant_pad_nd(flat, new long[] {0, multiple - over});
  }
}
