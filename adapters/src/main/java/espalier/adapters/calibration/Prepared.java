package espalier.adapters.calibration;

import espalier.nn.Scope;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/**
 * Values that a start computed from data before its adapter is attached, by the path of their layer
 * and a name that the start knows. It owns them; close it once the adapter is attached.
 *
 * <pre>{@code
 * try (Prepared prepared = LoraGa.preprocess(...)) {
 *   var init = InitSource.seeded(42).withPrepared(prepared.values());
 *   adapters.attach("default", config, AttachOptions.of(init));
 * }
 * }</pre>
 */
public final class Prepared implements AutoCloseable {

  private final Map<String, Map<String, Tensor>> values = new LinkedHashMap<>();

  /** Takes a handle of its own to a value. */
  public void put(String path, String name, Tensor value) {
    Tensor old =
        values.computeIfAbsent(path, _ -> new LinkedHashMap<>()).put(name, Scope.own(value));
    if (old != null) {
      old.close();
    }
  }

  /** All values by path and name, as {@link espalier.adapters.InitSource#withPrepared} takes it. */
  public Map<String, Map<String, Tensor>> values() {
    return Collections.unmodifiableMap(values);
  }

  /** All values by {@code path.name}, as a file holds them. */
  public Map<String, Tensor> flat() {
    var flat = new LinkedHashMap<String, Tensor>();
    values.forEach(
        (path, named) -> named.forEach((name, value) -> flat.put(path + "." + name, value)));
    return flat;
  }

  @Override
  public void close() {
    values.values().forEach(named -> named.values().forEach(Tensor::close));
    values.clear();
  }
}
