package espalier.nn;

import static org.bytedeco.pytorch.global.torch.mm_out;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
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

  /**
   * Writes numbers that are computed wide into memory of a narrower dtype. As that is taken before
   * the temporaries are made, nothing of them lies in front of it.
   *
   * @param room of the result
   * @param wide gives the numbers; its temporaries end with it
   * @return room
   */
  static Tensor rounded(Tensor room, Supplier<Tensor> wide) {
    try (var _ = new PointerScope()) {
      room.copy_(wide.get());
    }
    return room;
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
    long[] ofX = x.shape();
    long[] ofY = x.shape();
    ofY[ofY.length - 1] = w.size(0);
    return CustomFunction.apply(
        List.of(x),
        List.of(w),
        () -> {
          Tensor room = Scope.room(x, ofY);
          times(Features.rows(x), w.t(), bias, Features.rows(room));
          return room;
        },
        (g, saved) -> {
          Tensor room = g.new_empty(ofX);
          times(Features.rows(g), saved.getFirst(), null, Features.rows(room));
          return List.of(room);
        });
  }

  /** x m + bias by a float32 product, written to y. */
  private static void times(Tensor x, Tensor m, @Nullable Tensor bias, Tensor y) {
    try (var scratch = Scratch.frame()) {
      scratch.written(
          y,
          ScalarType.Float,
          wide -> {
            mm_out(wide, scratch.as(x, ScalarType.Float), scratch.as(m, ScalarType.Float));
            if (bias != null) {
              wide.add_(bias);
            }
          });
    }
  }
}
