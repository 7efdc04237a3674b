package espalier.adapters.lora.starts;

import espalier.adapters.NotFiniteException;
import espalier.nn.HalfPrecision;
import espalier.nn.LayerObserver;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Second moments XᵀX of the inputs of some layers, summed over calls. */
final class InputCovariance implements AutoCloseable {

  private final Map<String, Tensor> totals = new LinkedHashMap<>();
  private final Map<String, Integer> calls = new LinkedHashMap<>();
  private final boolean half;

  /**
   * Begins with nothing.
   *
   * @param half whether inputs in half precision stay so, which halves the memory
   */
  InputCovariance(boolean half) {
    this.half = half;
  }

  /** Takes the calls of one layer in. */
  LayerObserver observer(String path) {
    return (x, y) -> {
      add(path, x);
      return y;
    };
  }

  private void add(String path, Tensor x) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor rows = x.reshape(-1, x.size(-1));
      if (!(half && HalfPrecision.isHalf(rows))) {
        rows = rows.to(ScalarType.Float);
      }
      // By the largest entry with its sign, and not the largest magnitude, as the method has it.
      rows = rows.div(rows.max().abs());
      Tensor product = rows.t().matmul(rows);
      if (!product.isfinite().all().item_bool()) { // waits for the device: once a call
        throw new NotFiniteException(
            "%s: the covariance of its inputs is not finite; the data makes the model overflow, an input is all zero, or use_float16_for_covariance must be off"
                .formatted(path));
      }
      Tensor total = totals.get(path);
      if (total == null) {
        totals.put(path, Scope.own(product));
      } else {
        total.add_(product);
      }
      calls.merge(path, 1, Integer::sum);
    }
  }

  /** How many calls of a layer were taken in. */
  int calls(String path) {
    return calls.getOrDefault(path, 0);
  }

  /**
   * The mean over the calls of a layer, [in, in].
   *
   * @throws IllegalStateException if there were none
   */
  Tensor mean(String path) {
    Tensor total = totals.get(path);
    if (total == null) {
      throw new IllegalStateException(
          "%s got no input while the model ran; let runModel run the model on some text, or take the layer out of target_modules"
              .formatted(path));
    }
    return total.div(new Scalar((double) calls(path)));
  }

  @Override
  public void close() {
    totals.values().forEach(Tensor::close);
    totals.clear();
  }
}
