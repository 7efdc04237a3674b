package espalier.adapters.lora;

import espalier.nn.Init;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * First values of the two factors, float32.
 *
 * @param a [r, in] or [r, in, k...]
 * @param b [out, r] or [out, r / groups, 1...]
 * @param bias [out], or null
 * @param frozenB whether B is saved but never trained
 * @param residual what the start leaves of the base's weight, in its logical shape and dtype, or
 *     null
 */
record LoraFactors(
    Tensor a, Tensor b, @Nullable Tensor bias, boolean frozenB, @Nullable Tensor residual) {

  LoraFactors(Tensor a, Tensor b, @Nullable Tensor bias) {
    this(a, b, bias, false, null);
  }

  /** Draws in the reference's order, also what is thrown away: two fresh layers, then the start. */
  static LoraFactors draw(LoraConfig config, Init init, long[] a, long[] b) {
    Tensor freshA = init.kaimingUniform(fanIn(a), a);
    Tensor freshB = init.kaimingUniform(fanIn(b), b);
    Tensor freshBias = config.loraBias() ? init.kaimingUniform(fanIn(b), b[0]) : null;
    Tensor zeroBias = config.loraBias() ? init.zero(b[0]) : null;
    return switch (config.init()) {
      case LoraInit.Unset() -> new LoraFactors(freshA, freshB, freshBias);
      case LoraInit.Gaussian() ->
          new LoraFactors(init.normal(1.0 / a[0], a), init.zero(b), zeroBias);
      default -> new LoraFactors(init.kaimingUniform(fanIn(a), a), init.zero(b), zeroBias);
    };
  }

  private static long fanIn(long[] shape) {
    return LongStream.of(shape).skip(1).reduce(1, (x, y) -> x * y);
  }
}
