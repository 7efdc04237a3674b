package espalier.adapters;

import espalier.nn.Adaptable;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The dtypes that adapters have, and whether inputs are cast to them. */
final class AdapterDtypes {

  private static final Set<ScalarType> ALLOWED =
      EnumSet.of(ScalarType.Double, ScalarType.Float, ScalarType.BFloat16, ScalarType.Half);

  private final AdapterSet set;

  AdapterDtypes(AdapterSet set) {
    this.set = set;
  }

  /** Gives the tensors of an adapter another dtype, in place. */
  void cast(String name, ScalarType dtype) {
    set.entry(name);
    if (!ALLOWED.contains(dtype)) {
      throw new ConfigException(
          "an adapter can not be %s; choose one of %s".formatted(dtype, ALLOWED));
    }
    set.requireUnmerged("the dtype of %s can not be changed".formatted(name));
    try (var _ = new NoGradGuard();
        var _ = new PointerScope()) {
      set.lock().change(() -> set.on(name).values().forEach(adapter -> adapter.to(dtype)));
    }
  }

  /** Leaves inputs in the dtype that they have until the result is closed. */
  Restorable inputsUncast() {
    var before = new LinkedHashMap<Adaptable, Boolean>();
    set.adaptables().values().forEach(a -> before.put(a, a.adapters().castsInputs()));
    before.keySet().forEach(layer -> layer.adapters().castInputs(false));
    return new Restorable(
        List.of(), () -> before.forEach((layer, on) -> layer.adapters().castInputs(on)));
  }
}
