package espalier.adapters.combine;

import espalier.adapters.AdapterException;
import espalier.adapters.AdapterFormat;
import espalier.adapters.Modules;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** What sources have beside their factors: layers that were trained whole, and embeddings. */
final class CarriedOver {

  private CarriedOver() {}

  /**
   * The tensors by their key in the file.
   *
   * @param paths the layers that the combination adapts
   * @throws AdapterException if two sources have their own version of one layer
   */
  static Map<String, Tensor> of(List<SourceAdapter> sources, Collection<String> paths) {
    var tensors = new LinkedHashMap<String, Tensor>();
    var owners = new LinkedHashMap<String, SourceAdapter>();
    for (SourceAdapter source : sources) {
      requireApart(source, paths);
      source
          .tensors()
          .others()
          .forEach(
              (key, tensor) -> {
                SourceAdapter other = owners.putIfAbsent(key, source);
                Tensor present = tensors.putIfAbsent(AdapterFormat.KEY_PREFIX + key, tensor);
                if (other != null
                    && present != null
                    && !other.name().equals(source.name())
                    && (saves(other, key) || !present.equal(tensor))) {
                  throw new AdapterException(
                      "%s and %s both have their own %s, and whole layers can not be combined; leave one of the two out"
                          .formatted(other.name(), source.name(), key));
                }
              });
    }
    return tensors;
  }

  private static boolean saves(SourceAdapter source, String key) {
    return source.saved().stream().anyMatch(name -> within(key, name));
  }

  private static void requireApart(SourceAdapter source, Collection<String> paths) {
    for (String name : source.saved()) {
      for (String path : paths) {
        if (within(path, name)) {
          throw new AdapterException(
              "%s trains %s whole but another adapter has factors on it, and the two can not be combined; leave one of them out"
                  .formatted(source.name(), path));
        }
      }
    }
  }

  /** Whether a path is, or is below, a layer of that name. */
  private static boolean within(String path, String name) {
    for (int end = path.length(); end > 0; end = path.lastIndexOf('.', end - 1)) {
      if (Modules.endsWith(path.substring(0, end), name)) {
        return true;
      }
    }
    return false;
  }
}
