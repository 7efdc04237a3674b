package espalier.nn;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the sixteen codes of a 4-bit form stand for, in parts of a block's largest magnitude.
 *
 * @see <a href="https://arxiv.org/abs/2305.14314">QLoRA: Efficient Finetuning of Quantized LLMs</a>
 */
public final class FourBit {

  private static final int CODES = 16;

  /** NormalFloat: the quantiles of a normal distribution, 0 and both ends among them. */
  public static final FourBit NF4 =
      new FourBit(
          "nf4",
          new float[] {
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
          });

  /**
   * A float of a sign, two bits of exponent and one of mantissa, divided by its largest value 12.
   * The smallest magnitude is 1/16 and not the 1 that such a float has next to zero.
   */
  public static final FourBit FP4 =
      new FourBit(
          "fp4",
          new float[] {
            0,
            0.0625f / 12,
            8 / 12f,
            12 / 12f,
            4 / 12f,
            6 / 12f,
            2 / 12f,
            3 / 12f,
            -0f,
            -0.0625f / 12,
            -8 / 12f,
            -12 / 12f,
            -4 / 12f,
            -6 / 12f,
            -2 / 12f,
            -3 / 12f
          });

  private final String key;
  private final float[] table; // by code
  private final int[] rising; // codes by their values
  private final float[] borders; // half way between neighbours

  private FourBit(String key, float[] table) {
    this.key = key;
    this.table = table;
    rising = rising(table);
    borders = new float[CODES - 1];
    for (int i = 0; i < borders.length; i++) {
      borders[i] = (table[rising[i]] + table[rising[i + 1]]) / 2;
    }
  }

  // By insertion, which leaves equal values, the two zeros of FP4, in the order of their codes.
  private static int[] rising(float[] table) {
    var codes = new int[CODES];
    for (int code = 0; code < CODES; code++) {
      int at = code;
      for (; at > 0 && table[codes[at - 1]] > table[code]; at--) {
        codes[at] = codes[at - 1];
      }
      codes[at] = code;
    }
    return codes;
  }

  /** The name in recipes. */
  public String key() {
    return key;
  }

  /** What each code stands for, [16]. */
  public float[] table() {
    return table.clone();
  }

  /**
   * Quantises a tensor.
   *
   * @param tensor [...] of n values of any floating dtype, all finite
   */
  public FourBitBlocks quantise(Tensor tensor) {
    return FourBitBlocks.quantise(tensor, this);
  }

  /**
   * The codes of places in the order of values.
   *
   * @param places [n] of any integer dtype, in [0, 16)
   * @return [n] uint8
   */
  Tensor codes(Tensor places) {
    if (equals(NF4)) {
      return places.to(ScalarType.Byte); // whose codes are in that order
    }
    return Tensor.create(rising, rising.length)
        .to(places.device(), ScalarType.Byte)
        .index_select(0, places.to(ScalarType.Int));
  }

  @Override
  public String toString() {
    return key;
  }

  /** The values, [16] float32 on the device of a tensor. */
  Tensor table(Tensor like) {
    return like(table, like);
  }

  /** The middles between neighbours, [15] rising: what lies on one goes to the lower side. */
  Tensor borders(Tensor like) {
    return like(borders, like);
  }

  /** Both values of each byte, [256] as one int64 of two float32, for one look-up a byte. */
  Tensor pairs(Tensor like) {
    return pairs(table, like);
  }

  /** Pairs of sixteen numbers as one int64 each, [256], on the device of a tensor. */
  static Tensor pairs(float[] numbers, Tensor like) {
    var pairs = new float[2 * CODES * CODES];
    for (int i = 0; i < CODES * CODES; i++) {
      pairs[2 * i] = numbers[i / CODES];
      pairs[2 * i + 1] = numbers[i % CODES];
    }
    return like(pairs, like).view(ScalarType.Long);
  }

  private static Tensor like(float[] numbers, Tensor tensor) {
    return Tensor.create(numbers, numbers.length).to(tensor.device(), ScalarType.Float);
  }
}
