package espalier.adapters.hira;

import espalier.nn.HalfPrecision;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.nn.TensorStamp;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
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
  private record Sources(List<TensorStamp> stamps, double scale) {
    static Sources of(Linear layer, Tensor a, Tensor b, double scale) {
      return new Sources(
          Stream.of(layer.originalWeight(), a, b).map(TensorStamp::of).toList(), scale);
    }
  }

  private @Nullable Tensor kept;
  private @Nullable Sources sources;

  /**
   * The layer's output with the adapter.
   *
   * @param x [..., in]
   * @param delta makes W ⊙ M, [out, in]
   * @return [..., out] in the dtype of x
   */
  Tensor output(Linear layer, Tensor x, Tensor a, Tensor b, double scale, Supplier<Tensor> delta) {
    boolean half = HalfPrecision.isHalf(layer.originalWeight());
    Tensor w = weight(layer, Sources.of(layer, a, b, scale), delta);
    return half
        ? layer.base(x).add(layer.base(x, w, null), new Scalar(1))
        : layer.base(x, w, layer.bias());
  }

  // Passes that run side by side see the same sources: what changes them waits for all passes, so
  // that only the first one after a change makes the weight, and nobody uses the one it closes.
  private synchronized Tensor weight(Linear layer, Sources now, Supplier<Tensor> delta) {
    Tensor w = kept;
    if (w != null && now.equals(sources)) {
      return w;
    }
    close();
    try (var _ = new PointerScope()) {
      Tensor made = delta.get();
      boolean half = HalfPrecision.isHalf(layer.originalWeight());
      Tensor whole = half ? made : made.add_(HalfPrecision.widened(layer.originalWeight()));
      w = Scope.own(whole.to(layer.dtype()));
    }
    kept = w;
    sources = now;
    return w;
  }

  @Override
  public synchronized void close() {
    if (kept != null) {
      kept.close();
      kept = null;
      sources = null;
    }
  }
}
