package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Rows;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A forward pass in which each row of the batch has its own adapter. */
final class MixedBatch {

  private final AdapterSet set;

  MixedBatch(AdapterSet set) {
    this.set = set;
  }

  <T> T run(List<String> names, long batch, Supplier<T> body) {
    if (set.entries().isEmpty()) {
      throw new ConfigException(
          "adapter_names is %s but the model has no adapters; attach one, or leave the names out"
              .formatted(names));
    }
    try {
      Rows.check(names, batch, refusal());
    } catch (IllegalArgumentException e) {
      throw new ConfigException(String.valueOf(e.getMessage()));
    }
    var used = new TreeSet<>(names);
    used.remove(Rows.BASE);
    set.requireAll(used);
    set.layersOf(used).forEach((path, layer) -> require(path, layer, used));
    return ScopedValue.where(Rows.ADAPTERS, List.copyOf(names)).call(body::get);
  }

  private @Nullable String refusal() {
    if (set.model().training()) {
      return "rows of one batch can not have different adapters in training; call train(false)";
    }
    List<String> merged = set.merged();
    return merged.isEmpty()
        ? null
        : "rows of one batch can not have different adapters while %s is merged; unmerge first"
            .formatted(merged);
  }

  private static void require(String path, Adaptable layer, Collection<String> used) {
    for (String name : used) {
      Adapter adapter = layer.adapters().find(name);
      String refusal = adapter == null ? null : adapter.rowsRefusal();
      if (refusal != null) {
        throw new UnsupportedAdapterException("%s at %s: %s".formatted(name, path, refusal));
      }
    }
  }
}
