package espalier.adapters.hira;

import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * First values of the two factors, float32, drawn in the reference's order.
 *
 * @param a [r, in], [r, in, k...], or [blocks, in / blocks, r]
 * @param b [out, r], [out, r, 1...], or [blocks, r, out / blocks]
 */
record HiraFactors(Tensor a, Tensor b) {

  static HiraFactors draw(HiraConfig config, Init init, long[] a, long[] b) {
    return draw(config, init, a, b, a[0]);
  }

  /**
   * The same, for factors that may be stacked.
   *
   * @param r the rank of one of those that are stacked
   */
  static HiraFactors draw(HiraConfig config, Init init, long[] a, long[] b, long r) {
    Tensor normalA = init.normal(1, a);
    Tensor normalB = init.normal(1, b);
    boolean linear = a.length == 2;
    return switch (config.init()) {
      case UNSET -> new HiraFactors(normalA, normalB);
      case GAUSSIAN ->
          new HiraFactors(
              linear ? init.normal(1.0 / r, a) : init.kaimingUniform(fanIn(a), a), init.zero(b));
      case UNIFORM -> new HiraFactors(init.kaimingUniform(fanIn(a), a), init.zero(b));
    };
  }

  /** First values on a linear layer, in blocks where the config asks for them. */
  static HiraFactors draw(HiraConfig config, Init init, Linear layer, int r) {
    int side = config.blocks();
    if (side == 1) {
      return draw(config, init, new long[] {r, layer.in()}, new long[] {layer.out(), r});
    }
    long in = layer.in() / side;
    long[] a = {side, in, r};
    long[] b = {side, r, layer.out() / side};
    return switch (config.init()) {
      case UNSET -> new HiraFactors(init.normal(1, a), init.normal(1, b));
      case GAUSSIAN -> new HiraFactors(init.normal(1.0 / r, a), init.zero(b));
      case UNIFORM -> new HiraFactors(init.kaimingUniform(in, a), init.zero(b));
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
    return accept(own, shape, name.endsWith("A") ? 0 : 1);
  }

  /** The same, where {@code rank} is the dimension that the file decides on. */
  static boolean accept(@Nullable Tensor own, long[] shape, int rank) {
    if (own == null || own.dim() != shape.length) {
      return false;
    }
    for (int i = 0; i < shape.length; i++) {
      if (i != rank && own.size(i) != shape[i]) {
        return false;
      }
    }
    return shape[rank] > 0;
  }

  /** Why an adapter of this method can not be converted to plain LoRA, or null if it can. */
  static @Nullable String conversionRefusal(Adapter adapter, @Nullable String otherwise) {
    return adapter.referenceRefusals()
        ? "the reference does not convert HIRA; switch referenceRefusals off to convert it with a"
            + " report of the error"
        : otherwise;
  }

  static void requireOneRank(Tensor a, Tensor b) {
    requireOneRank(a.size(0), b.size(1));
  }

  static void requireOneRank(long a, long b) {
    if (a != b) {
      throw new IllegalArgumentException(
          "A has rank %d but B has rank %d; both come from one file".formatted(a, b));
    }
  }
}
