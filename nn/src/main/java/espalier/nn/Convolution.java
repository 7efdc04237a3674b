package espalier.nn;

import static org.bytedeco.pytorch.global.torch.convolution;
import static org.bytedeco.pytorch.global.torch.convolution_backward;
import static org.bytedeco.pytorch.global.torch.pad;

import java.util.Arrays;
import java.util.Set;
import org.bytedeco.javacpp.BoolPointer;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.LongArrayRefOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** A convolution in one, two or three dimensions, W [out, in / groups, k...]. */
public final class Convolution extends Adaptable {

  /**
   * How a kernel moves. Arrays have one entry a spatial dimension.
   *
   * @param paddingMode zeros, reflect, replicate or circular
   */
  @SuppressWarnings("ArrayRecordComponent") // handed to native calls, never compared
  public record Geometry(
      long[] stride, long[] padding, long[] dilation, long groups, String paddingMode) {

    private static final Set<String> MODES = Set.of("zeros", "reflect", "replicate", "circular");

    /** Checks the padding mode. */
    public Geometry {
      if (!MODES.contains(paddingMode)) {
        throw new IllegalArgumentException(
            "padding_mode is %s but a convolution knows zeros, reflect, replicate and circular"
                .formatted(paddingMode));
      }
    }

    /** Stride 1, no padding, no dilation, one group, in {@code dimensions} dimensions. */
    public static Geometry plain(int dimensions) {
      long[] ones = new long[dimensions];
      Arrays.fill(ones, 1);
      return new Geometry(ones, new long[dimensions], ones.clone(), 1, "zeros");
    }

    /** What the product itself pads with zeros; other paddings come before it. */
    private long[] zeroPadding() {
      return paddingMode.equals("zeros") ? padding : new long[padding.length];
    }

    /** The same movement with one group. */
    public Geometry ungrouped() {
      return new Geometry(stride, padding, dilation, 1, paddingMode);
    }
  }

  private final Geometry geometry;
  private Tensor weight; // [out, in / groups, k...]
  private @Nullable Tensor bias; // [out]

  /**
   * A convolution over given tensors.
   *
   * @param weight [out, in / groups, k...], one to three kernel dimensions
   * @param bias [out], or null
   */
  public Convolution(Tensor weight, @Nullable Tensor bias, Geometry geometry) {
    long dimensions = weight.dim() - 2;
    if (dimensions < 1 || dimensions > 3 || geometry.stride().length != dimensions) {
      throw new IllegalArgumentException(
          "a convolution weight is [out, in, k...] with 1 to 3 kernel dimensions but this one has "
              + weight.dim()
              + " dimensions and "
              + geometry.stride().length
              + " strides");
    }
    this.geometry = geometry;
    this.weight = parameter("weight", weight);
    this.bias = bias == null ? null : parameter("bias", bias);
  }

  @Override
  public String typeName() {
    return "Conv" + dimensions() + "d";
  }

  /** Spatial dimensions, 1 to 3. */
  public int dimensions() {
    return geometry.stride().length;
  }

  /** How the kernel moves. */
  public Geometry geometry() {
    return geometry;
  }

  /** Input channels. */
  public long in() {
    return weight.size(1) * geometry.groups();
  }

  /** Output channels. */
  public long out() {
    return weight.size(0);
  }

  /** Kernel sizes, one a dimension. */
  public long[] kernel() {
    long[] k = new long[dimensions()];
    for (int i = 0; i < k.length; i++) {
      k[i] = weight.size(i + 2);
    }
    return k;
  }

  /** The kernel, [out, in / groups, k...]. */
  @Override
  public Tensor weight() {
    return weight;
  }

  @Override
  public @Nullable Tensor bias() {
    return bias;
  }

  @Override
  public Tensor base(Tensor x) {
    return convolve(x, weight, bias, geometry);
  }

  @Override
  public Tensor base(Tensor x, Tensor kernel, @Nullable Tensor b) {
    return convolve(x, kernel, b, geometry);
  }

  /**
   * A convolution that moves as {@code geometry} says.
   *
   * @param x [batch, in, ...]
   * @param kernel [out, in / groups, k...]
   * @param bias [out], or null
   */
  public static Tensor convolve(Tensor x, Tensor kernel, @Nullable Tensor bias, Geometry geometry) {
    long[] padding = geometry.zeroPadding();
    return convolution(
        padded(x, geometry),
        kernel,
        bias == null ? new TensorOptional() : new TensorOptional(bias),
        geometry.stride(),
        padding,
        geometry.dilation(),
        false,
        new long[padding.length],
        geometry.groups());
  }

  /**
   * The gradient that the kernel would have, [out, in / groups, k...] float32.
   *
   * @param x the input [batch, in, ...]
   * @param gradient of the output [batch, out, ...]
   */
  public Tensor kernelGradient(Tensor x, Tensor gradient) {
    long[] padding = geometry.zeroPadding();
    try (var wanted =
        new BoolPointer(3).put(0, false).put(1, true).put(2, false)) { // input, kernel, bias
      return new Tensor(
          convolution_backward(
                  gradient.to(ScalarType.Float),
                  padded(x.to(ScalarType.Float), geometry),
                  weight.to(ScalarType.Float),
                  new LongArrayRefOptional(),
                  geometry.stride(),
                  padding,
                  geometry.dilation(),
                  false,
                  new long[padding.length],
                  geometry.groups(),
                  wanted)
              .get1());
    }
  }

  private static Tensor padded(Tensor x, Geometry geometry) {
    return geometry.paddingMode().equals("zeros")
        ? x
        : pad(x, bothSides(geometry.padding()), geometry.paddingMode(), new DoubleOptional());
  }

  // pad() wants the last dimension first, each with its two sides
  private static long[] bothSides(long[] padding) {
    long[] sides = new long[2 * padding.length];
    for (int i = 0; i < padding.length; i++) {
      long p = padding[padding.length - 1 - i];
      sides[2 * i] = p;
      sides[2 * i + 1] = p;
    }
    return sides;
  }

  @Override
  void replaceWeight(Tensor w) {
    weight = parameter("weight", w);
  }

  @Override
  void replaceBias(Tensor b) {
    bias = parameter("bias", b);
  }
}
