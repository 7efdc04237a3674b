package espalier.nn;

import static org.bytedeco.pytorch.global.torch.bucketize;

import java.util.Arrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The 256 values that eight bits stand for in dynamic quantisation, in [-1, 1] or [0, 1]. They lie
 * densest near zero: seven decades, and in each twice as many as in the one below, so that small
 * numbers keep their order of magnitude and large ones their digits.
 *
 * <p>A decade has the middles of equal parts of [0.1, 1]. They are rounded as bitsandbytes' {@code
 * create_dynamic_map} does, step by step in float32, so that its codes mean the same here.
 *
 * @see <a href="https://arxiv.org/abs/1511.04561">8-bit Approximations for Parallelism in Deep
 *     Learning</a>
 */
public final class DynamicMap {

  /** For numbers of both signs: 127 values of each, and 0 and 1. */
  public static final DynamicMap SIGNED = new DynamicMap(true);

  /** For numbers from 0 on. */
  public static final DynamicMap POSITIVE = new DynamicMap(false);

  private static final int DECADES = 7;

  private final float[] values = new float[1 << 8]; // rising
  private final float[] borders = new float[values.length - 1]; // half way between neighbours

  private DynamicMap(boolean signed) {
    int at = 0;
    for (int decade = 0; decade < DECADES; decade++) {
      float unit = (float) Math.pow(10, decade - (DECADES - 1.0));
      for (float middle : middles(1 << (signed ? decade : decade + 1))) {
        values[at++] = unit * middle;
        if (signed) {
          values[at++] = -unit * middle;
        }
      }
    }
    values[at++] = 0;
    values[at] = 1;
    Arrays.sort(values);
    for (int i = 0; i < borders.length; i++) {
      borders[i] = (float) (((double) values[i] + values[i + 1]) / 2);
    }
  }

  private static float[] middles(int parts) {
    var ends = new float[parts + 1];
    float step = (1 - 0.1f) / parts;
    for (int i = 0; i <= parts; i++) {
      // as libtorch's linspace: from the nearer end, with one rounding
      ends[i] =
          i < (parts + 1) / 2
              ? Math.fma(step, (float) i, 0.1f)
              : Math.fma(-step, (float) (parts - i), 1f);
    }
    var middles = new float[parts];
    for (int i = 0; i < parts; i++) {
      middles[i] = (ends[i] + ends[i + 1]) / 2;
    }
    return middles;
  }

  /** The values, rising, [256] float32 on the device of a tensor. */
  public Tensor values(Tensor near) {
    return on(values, near);
  }

  /**
   * The number of the nearest value; of two that are as near, the lower one.
   *
   * @param shares of any shape, float32
   * @return int32 in [0, 255], of the same shape
   */
  public Tensor nearest(Tensor shares) {
    return bucketize(shares, on(borders, shares), true, false);
  }

  private static Tensor on(float[] numbers, Tensor near) {
    return Tensor.create(numbers, numbers.length).to(near.device(), ScalarType.Float);
  }
}
