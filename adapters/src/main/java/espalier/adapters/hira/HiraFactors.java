package espalier.adapters.hira;

import espalier.nn.Init;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * First values of the two factors, float32, drawn in the reference's order.
 *
 * @param a [r, in] or [r, in, k...]
 * @param b [out, r] or [out, r, 1...]
 */
record HiraFactors(Tensor a, Tensor b) {

  static HiraFactors draw(HiraConfig config, Init init, long[] a, long[] b) {
    Tensor normalA = init.normal(1, a);
    Tensor normalB = init.normal(1, b);
    boolean linear = a.length == 2;
    return switch (config.init()) {
      case UNSET -> new HiraFactors(normalA, normalB);
      case GAUSSIAN ->
          new HiraFactors(
              linear ? init.normal(1.0 / a[0], a) : init.kaimingUniform(fanIn(a), a), init.zero(b));
      case UNIFORM -> new HiraFactors(init.kaimingUniform(fanIn(a), a), init.zero(b));
    };
  }

  private static long fanIn(long[] shape) {
    return LongStream.of(shape).skip(1).reduce(1, (x, y) -> x * y);
  }

  /**
   * Whether a saved factor fits but for its rank: the reference ignores rank_pattern now and then,
   * so the shapes in the file decide.
   */
  static boolean accept(@Nullable Tensor own, String name, long[] shape) {
    if (own == null || own.dim() != shape.length) {
      return false;
    }
    int rank = name.endsWith("A") ? 0 : 1;
    for (int i = 0; i < shape.length; i++) {
      if (i != rank && own.size(i) != shape[i]) {
        return false;
      }
    }
    return shape[rank] > 0;
  }

  static void requireOneRank(Tensor a, Tensor b) {
    if (a.size(0) != b.size(1)) {
      throw new IllegalArgumentException(
          "A has rank %d but B has rank %d; both come from one file"
              .formatted(a.size(0), b.size(1)));
    }
  }
}
