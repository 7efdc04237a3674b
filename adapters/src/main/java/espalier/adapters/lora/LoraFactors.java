package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.addmm;
import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
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
    return draw(config, init, a[0], a, b);
  }

  /**
   * The same where several experts share the factors.
   *
   * @param r the rank of one expert
   */
  static LoraFactors draw(LoraConfig config, Init init, long r, long[] a, long[] b) {
    Tensor freshA = init.kaimingUniform(fanIn(a), a);
    Tensor freshB = init.kaimingUniform(fanIn(b), b);
    Tensor freshBias = config.loraBias() ? init.kaimingUniform(fanIn(b), b[0]) : null;
    Tensor zeroBias = config.loraBias() ? init.zero(b[0]) : null;
    return switch (config.init()) {
      case LoraInit.Unset() -> new LoraFactors(freshA, freshB, freshBias);
      case LoraInit.Gaussian() -> new LoraFactors(init.normal(1.0 / r, a), init.zero(b), zeroBias);
      default -> new LoraFactors(init.kaimingUniform(fanIn(a), a), init.zero(b), zeroBias);
    };
  }

  /** Draws, and throws away, what the reference draws before it works out other factors. */
  static void drawFresh(Init init, int r, Linear layer) {
    init.kaimingUniform(layer.in(), r, layer.in()).close();
    init.kaimingUniform(r, layer.out(), r).close();
  }

  /**
   * Factors that are taken out of the base: its residual is W − s·B·A, computed in float32 and
   * rounded once.
   *
   * @param a [k, in] with k of r or fewer, float32; what is missing to r is filled with zeros
   * @param b [out, k]
   */
  static LoraFactors takenOut(LoraConfig config, Linear layer, String path, Tensor a, Tensor b) {
    Tensor w = layer.weight().detach().to(ScalarType.Float);
    var minusS = new Scalar(-config.scalingAt(path));
    Tensor residual =
        layer.transposed() // computed as it is stored, so that the layout stays
            ? addmm(w.t(), a.t(), b.t(), LoraLinear.one(), minusS).t()
            : addmm(w, b, a, LoraLinear.one(), minusS);
    int r = config.rankAt(path);
    return new LoraFactors(rows(a, r), columns(b, r), null, false, residual.to(layer.dtype()));
  }

  /** A [k, in] with rows of zeros up to r. */
  static Tensor rows(Tensor a, int r) {
    return constant_pad_nd(a, new long[] {0, 0, 0, r - a.size(0)});
  }

  /** B [out, k] with columns of zeros up to r. */
  static Tensor columns(Tensor b, int r) {
    return constant_pad_nd(b, new long[] {0, r - b.size(1)});
  }

  private static long fanIn(long[] shape) {
    return LongStream.of(shape).skip(1).reduce(1, (x, y) -> x * y);
  }
}
