package espalier.adapters.calibration;

import espalier.nn.Adaptable;
import espalier.nn.LayerObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/** Observers on some layers of a model, which leave it when this is closed. */
public final class Observation implements AutoCloseable {

  private final List<Adaptable> observed = new ArrayList<>();

  /**
   * Puts an observer on each layer, or on none if one of them is observed already.
   *
   * @param layers by path
   * @param observer makes the observer for a path
   */
  public Observation(
      Map<String, ? extends Adaptable> layers, Function<String, LayerObserver> observer) {
    try {
      layers.forEach(
          (path, layer) -> {
            layer.observe(observer.apply(path));
            observed.add(layer);
          });
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  @Override
  public void close() {
    observed.forEach(Adaptable::unobserve);
    observed.clear();
  }
}
