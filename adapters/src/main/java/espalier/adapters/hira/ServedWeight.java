package espalier.adapters.hira;

import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.List;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * W ⊙ (1 + M) of one layer, kept while an adapter serves so that a call is one product. In half
 * precision it is W ⊙ M and a second product, because 1 + M rounds to 1 for |M| below 2⁻⁹.
 */
final class ServedWeight implements AutoCloseable {

  /** What a kept weight was made of, as it was then: training and loading leave a trace here. */
  private record Stamp(List<Long> numbers, double scale) {
    static Stamp of(Linear layer, Tensor a, Tensor b, double scale) {
      Tensor w = layer.originalWeight();
      return new Stamp(
          List.of(address(w), w._version(), address(a), a._version(), address(b), b._version()),
          scale);
    }

    private static long address(Tensor tensor) {
      return tensor.data_ptr().address();
    }
  }

  private @Nullable Tensor kept;
  private @Nullable Stamp stamp;

  /**
   * The layer's output with the adapter.
   *
   * @param x [..., in]
   * @param delta makes W ⊙ M, [out, in]
   * @return [..., out] in the dtype of x
   */
  Tensor output(Linear layer, Tensor x, Tensor a, Tensor b, double scale, Supplier<Tensor> delta) {
    boolean half = HalfPrecision.isHalf(layer.originalWeight());
    Tensor w = kept;
    Stamp now = Stamp.of(layer, a, b, scale);
    if (w == null || !now.equals(stamp)) {
      close();
      try (var _ = new PointerScope()) {
        Tensor made = delta.get();
        Tensor whole = half ? made : made.add_(HalfPrecision.widened(layer.originalWeight()));
        w = Scope.own(whole.to(layer.dtype()));
      }
      kept = w;
      stamp = now;
    }
    return half
        ? layer.base(x).add(layer.base(x, w, null), new Scalar(1))
        : layer.base(x, w, layer.bias());
  }

  @Override
  public void close() {
    if (kept != null) {
      kept.close();
      kept = null;
      stamp = null;
    }
  }
}
