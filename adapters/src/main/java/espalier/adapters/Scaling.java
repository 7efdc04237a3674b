package espalier.adapters;

import espalier.nn.Adapter;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.function.DoubleUnaryOperator;

/** The factor on what adapters add, set for whole adapters. */
final class Scaling {

  private final AdapterSet set;

  Scaling(AdapterSet set) {
    this.set = set;
  }

  /** Gives all of these adapters another factor, made of the present one. */
  void rescale(Collection<String> names, DoubleUnaryOperator factor) {
    List<String> merged = names.stream().filter(set.merged()::contains).toList();
    if (!merged.isEmpty()) {
      AdapterSet.told(
          List.of(
              "%s is merged with the factor that it had; unmerge it and merge it again for the new one"
                  .formatted(merged)));
    }
    set.lock()
        .change(
            () ->
                names.forEach(
                    name ->
                        set.on(name)
                            .values()
                            .forEach(a -> a.scale(factor.applyAsDouble(a.scale())))));
  }

  /** Multiplies the factor of the active adapters. */
  void multiply(double factor) {
    rescale(set.active(), scale -> scale * factor);
  }

  /** Divides the factor of the active adapters. */
  void divide(double factor) {
    if (factor == 0) {
      throw new ConfigException("a factor can not be divided by 0; unscaleLayers() sets it to 1");
    }
    multiply(1 / factor);
  }

  /** Multiplies the factor of all adapters until the result is closed. */
  Restorable meanwhile(double factor) {
    if (!Double.isFinite(factor)) {
      throw new ConfigException(
          "the scale is %s but a finite number is needed; 1 is the adapter as trained"
              .formatted(factor));
    }
    set.requireSome();
    List<String> names = set.names();
    var before = new LinkedHashMap<Adapter, Double>();
    names.forEach(name -> set.on(name).values().forEach(a -> before.put(a, a.scale())));
    rescale(names, scale -> scale * factor);
    return new Restorable(List.of(), () -> set.lock().change(() -> before.forEach(Adapter::scale)));
  }
}
