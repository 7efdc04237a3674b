package espalier.nn;

import static org.bytedeco.pytorch.global.torch.bucketize;
import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A tensor in NF4, the 4-bit NormalFloat of QLoRA: row by row in blocks of 64 values, each the
 * nearest of 16 levels times the block's largest magnitude. The levels are the quantiles of a
 * normal distribution, 0 and both ends among them. The scales of the blocks are float32; {@link
 * Nf4Weight} quantises them a second time.
 *
 * <p>The handles of a value belong to the scope in which it was made; see {@link Scope#own}.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA: Efficient Finetuning of Quantized LLMs</a>
 */
public final class Nf4 {

  /** Values that share one scale. */
  public static final int BLOCK = 64;

  private static final float[] LEVELS = {
    -1f,
    -0.6961928f,
    -0.52507305f,
    -0.3949175f,
    -0.28444138f,
    -0.18477343f,
    -0.091050036f,
    0f,
    0.0795803f,
    0.1609302f,
    0.2461123f,
    0.33791524f,
    0.44070983f,
    0.562617f,
    0.72295684f,
    1f
  };

  private final Tensor packed; // [⌈n / 2⌉] uint8
  private final Tensor absmax; // [⌈n / 64⌉] float32
  private final long[] shape;

  private Nf4(Tensor packed, Tensor absmax, long[] shape) {
    this.packed = packed;
    this.absmax = absmax;
    this.shape = shape.clone();
  }

  /**
   * Quantises a tensor.
   *
   * @param tensor [...] of n values of any floating dtype, all finite
   */
  public static Nf4 quantise(Tensor tensor) {
    long n = tensor.numel();
    Tensor flat = tensor.detach().to(ScalarType.Float).reshape(-1);
    Tensor blocks = padded(flat, BLOCK).view(-1, BLOCK);
    Tensor absmax = blocks.abs().amax(new long[] {1}, false);
    // A block of zeros is divided by a tiny number and stays zero.
    Tensor scaled = blocks.div(absmax.clamp_min(new Scalar(Float.MIN_NORMAL)).unsqueeze(1));
    Tensor codes = bucketize(scaled, borders(tensor), true, false).to(ScalarType.Byte).view(-1);
    Tensor pairs = padded(codes.narrow(0, 0, n), 2).view(-1, 2);
    Tensor packed = pairs.select(1, 0).mul(new Scalar(16)).add(pairs.select(1, 1));
    return new Nf4(packed, absmax, tensor.shape());
  }

  /**
   * A tensor that is quantised already.
   *
   * @param packed [⌈n / 2⌉] uint8, two codes each, the first one in the high four bits
   * @param absmax [⌈n / 64⌉] float32, the scale of each block
   * @param shape of the tensor of n values
   * @throws IllegalArgumentException if the sizes do not belong together
   */
  public static Nf4 of(Tensor packed, Tensor absmax, long... shape) {
    long n = 1;
    for (long size : shape) {
      n *= size;
    }
    if (packed.numel() != (n + 1) / 2 || absmax.numel() != (n + BLOCK - 1) / BLOCK) {
      throw new IllegalArgumentException(
          "%d values in NF4 are %d bytes and %d scales but there are %d and %d; the parts are of different tensors"
              .formatted(n, (n + 1) / 2, (n + BLOCK - 1) / BLOCK, packed.numel(), absmax.numel()));
    }
    return new Nf4(packed.reshape(-1), absmax.reshape(-1), shape);
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
        levels(packed).index_select(0, codes.view(-1).narrow(0, 0, n).to(ScalarType.Int));
    return padded(values, BLOCK)
        .view(-1, BLOCK)
        .mul(absmax.unsqueeze(1))
        .view(-1)
        .narrow(0, 0, n)
        .view(shape);
  }

  /** Both values of each byte, [256] as one int64 of two float32, for one look-up a byte. */
  static Tensor pairs(Tensor like) {
    var values = new float[512];
    for (int i = 0; i < 256; i++) {
      values[2 * i] = LEVELS[i >> 4];
      values[2 * i + 1] = LEVELS[i & 15];
    }
    return asPairs(values, like);
  }

  /** Pairs of numbers as one int64 each, on the device of a tensor. */
  static Tensor asPairs(float[] values, Tensor like) {
    return Tensor.create(values, values.length)
        .to(like.device(), ScalarType.Float)
        .view(ScalarType.Long);
  }

  private static Tensor padded(Tensor flat, long multiple) {
    long over = flat.numel() % multiple;
    return over == 0 ? flat : constant_pad_nd(flat, new long[] {0, multiple - over});
  }

  private static Tensor levels(Tensor like) {
    return Tensor.create(LEVELS, LEVELS.length).to(like.device(), ScalarType.Float);
  }

  // The middle between two levels: what lies on it goes to the lower one.
  private static Tensor borders(Tensor like) {
    var borders = new float[LEVELS.length - 1];
    for (int i = 0; i < borders.length; i++) {
      borders[i] = (LEVELS[i] + LEVELS[i + 1]) / 2;
    }
    return Tensor.create(borders, borders.length).to(like.device(), ScalarType.Float);
  }
}
