package espalier.adapters.lora.starts;

import espalier.adapters.calibration.Prepared;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** What a cache holds, sorted by layer. */
final class Kept {

  private Kept() {}

  /**
   * The values of the layers out of a file's tensors.
   *
   * @param names of the values that each layer must have
   * @throws IllegalStateException naming the first that is missing
   */
  static Prepared of(
      Map<String, Tensor> tensors, String file, Collection<String> paths, List<String> names) {
    var prepared = new Prepared();
    try {
      for (String path : paths) {
        for (String name : names) {
          prepared.put(path, name, tensor(tensors, file, path + "." + name));
        }
      }
      return prepared;
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
  }

  /** One tensor of a file. */
  static Tensor tensor(Map<String, Tensor> tensors, String file, String key) {
    Tensor tensor = tensors.get(key);
    if (tensor == null) {
      throw new IllegalStateException(
          "%s has no %s, so it was made for another model or other target_modules; delete it to compute it anew"
              .formatted(file, key));
    }
    return tensor;
  }
}
