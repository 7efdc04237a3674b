package espalier.nn;

import static org.bytedeco.pytorch.global.torch.linear;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Products in half precision on processors that have no instructions for them. There libtorch
 * emulates them at about a quarter of float32's speed (63 against 235 GFLOP/s on a Xeon without
 * AVX512-BF16), so both sides are widened for the product and the result is rounded once. What is
 * kept for backward stays in half precision.
 */
public final class HalfPrecision {

  private static final boolean EMULATED = emulated();

  private HalfPrecision() {}

  /** Whether this processor lacks instructions for bfloat16 products. */
  public static boolean lacking() {
    return EMULATED;
  }

  /** Whether products of this tensor's dtype are emulated on its device. */
  public static boolean emulated(Tensor tensor) {
    return EMULATED && isHalf(tensor) && tensor.is_cpu();
  }

  /** Whether a tensor is bfloat16 or float16. */
  public static boolean isHalf(Tensor tensor) {
    return switch (tensor.scalar_type().intern()) {
      case BFloat16, Half -> true;
      default -> false;
    };
  }

  /** The same numbers in float32 at least: what is shorter is cast, all else stays as it is. */
  public static Tensor widened(Tensor tensor) {
    return isHalf(tensor) || Float8Weight.holds(tensor) ? tensor.to(ScalarType.Float) : tensor;
  }

  /** The dtype that sums are made in: float64 where the numbers are float64, float32 else. */
  public static ScalarType widened(ScalarType dtype) {
    return dtype == ScalarType.Double ? dtype : ScalarType.Float;
  }

  // Decided by what the processor says and not by a measurement, so that each run takes the same
  // way.
  private static boolean emulated() {
    Path info = Path.of("/proc/cpuinfo");
    if (!Files.isReadable(info)) {
      return false;
    }
    try {
      String text = Files.readString(info).toLowerCase(Locale.ROOT);
      return !text.contains("avx512_bf16") && !text.contains("amx_bf16") && !text.contains(" bf16");
    } catch (IOException _) {
      return false;
    }
  }

  /**
   * x Wᵀ + bias by float32 products.
   *
   * @param x [..., in]
   * @param w [out, in], frozen
   * @param bias [out], or null
   * @return [..., out] in the dtype of x
   */
  static Tensor linearWide(Tensor x, Tensor w, @Nullable Tensor bias) {
    return CustomFunction.apply(
        List.of(x),
        List.of(w),
        () -> {
          Tensor y = linear(x.to(ScalarType.Float), w.to(ScalarType.Float));
          return (bias == null ? y : y.add_(bias)).to(x.scalar_type().intern());
        },
        (g, saved) ->
            List.of(
                g.to(ScalarType.Float)
                    .matmul(saved.getFirst().to(ScalarType.Float))
                    .to(g.scalar_type().intern())));
  }
}
