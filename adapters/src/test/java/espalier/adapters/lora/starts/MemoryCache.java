package espalier.adapters.lora.starts;

import espalier.adapters.calibration.TensorCache;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import org.bytedeco.pytorch.Tensor;

/** Keeps tensors in memory, for tests. */
final class MemoryCache implements TensorCache {

  final Map<String, Map<String, Tensor>> files = new HashMap<>();

  @Override
  public Optional<Map<String, Tensor>> read(String name) {
    return Optional.ofNullable(files.get(name));
  }

  @Override
  public void write(String name, Map<String, Tensor> tensors) {
    var copies = new LinkedHashMap<String, Tensor>();
    // out of the writer's scopes
    tensors.forEach((key, t) -> copies.put(key, espalier.nn.Scope.owned(t::clone)));
    files.put(name, copies);
  }
}
