package espalier.adapters.lora.starts;

import static org.bytedeco.pytorch.global.torch.equal;

import espalier.adapters.NotFiniteException;
import espalier.nn.HalfPrecision;
import espalier.nn.LayerObserver;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Second moments XᵀX of the inputs of some layers, summed over calls. Layers that get the same
 * inputs one after the other, as the projections of one attention do, share one sum for as long as
 * they do.
 */
final class InputCovariance implements AutoCloseable {

  /** The call before: where a sum stood, what came to it, and where it stands now. */
  private record Call(InputSum from, Tensor rows, InputSum to) {}

  private final Map<String, InputSum> sums = new LinkedHashMap<>();
  private final boolean half;
  private @Nullable Call last;

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
      InputSum before = sums.getOrDefault(path, InputSum.NONE);
      InputSum after = shared(before, rows);
      if (after == null) {
        after = before.plus(rows, path);
        forget();
        last = new Call(before, Scope.own(rows), after);
      }
      sums.put(path, after.taken());
      before.left();
    }
  }

  private void forget() {
    if (last != null) {
      last.rows.close();
      last = null;
    }
  }

  /** Where the layer before has come with the same rows from the same sum; or null. */
  private @Nullable InputSum shared(InputSum before, Tensor rows) {
    return last != null
            && last.from == before
            && Arrays.equals(last.rows.shape(), rows.shape())
            && last.rows.scalar_type().intern() == rows.scalar_type().intern()
            && equal(last.rows, rows) // waits for the device: once a call
        ? last.to
        : null;
  }

  /** How many calls of a layer were taken in. */
  int calls(String path) {
    return sums.getOrDefault(path, InputSum.NONE).calls();
  }

  /**
   * The means over the calls of each layer, [in, in]; layers that shared all their inputs share the
   * tensor.
   *
   * @throws IllegalStateException if a layer had none
   * @throws NotFiniteException if a covariance is not finite
   */
  Map<String, Tensor> means(Iterable<String> paths) {
    var bySum = new IdentityHashMap<InputSum, Tensor>();
    var means = new LinkedHashMap<String, Tensor>();
    for (String path : paths) {
      InputSum sum = sums.get(path);
      if (sum == null) {
        throw new IllegalStateException(
            "%s got no input while the model ran; let runModel run the model on some text, or take the layer out of target_modules"
                .formatted(path));
      }
      means.put(path, bySum.computeIfAbsent(sum, same -> same.mean(path)));
    }
    return means;
  }

  @Override
  public void close() {
    forget();
    sums.values().forEach(InputSum::left);
    sums.clear();
  }
}
