package espalier.adapters.shira;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;

/** A saved adapter with its places in the other form. The model is not needed. */
final class ShiraExport {

  private static final String COMPACT = "SHIRA_COMPACT";

  private ShiraExport() {}

  static AdapterContents of(ShiraConfig config, String method, Map<String, Tensor> tensors) {
    boolean compact = method.equals(COMPACT);
    if (!compact && !method.equals("SHIRA")) {
      throw new ConfigException(
          "SHIRA can not be exported as %s; SHIRA, with rows and columns as PEFT has them, and SHIRA_COMPACT, with the gaps between entries, are possible"
              .formatted(method));
    }
    var written = new LinkedHashMap<String, Tensor>();
    tensors.forEach(
        (key, tensor) -> {
          if (compact && key.endsWith("." + ShiraLinear.INDICES)) {
            String prefix = key.substring(0, key.length() - ShiraLinear.INDICES.length());
            gaps(prefix, tensors, written);
          } else if (!compact && key.endsWith("." + ShiraLinear.GAPS)) {
            String prefix = key.substring(0, key.length() - ShiraLinear.GAPS.length());
            written.put(prefix + ShiraLinear.INDICES, indices(key, tensor));
          } else {
            written.putIfAbsent(key, tensor);
          }
        });
    return new AdapterContents(config.withOptions(config.options().withCompact(compact)), written);
  }

  private static void gaps(
      String prefix, Map<String, Tensor> tensors, Map<String, Tensor> written) {
    Tensor indices = Objects.requireNonNull(tensors.get(prefix + ShiraLinear.INDICES));
    if (indices.dim() != 2 || indices.size(0) != 2 || indices.size(1) == 0) {
      throw new ConfigException(
          "%s%s is not made of rows and columns; the file is broken"
              .formatted(prefix, ShiraLinear.INDICES));
    }
    // No row need be longer than its last entry: with the weight at hand the gaps mean the same.
    long rows = indices.select(0, 0).max().item_long() + 1;
    long width = indices.select(0, 1).max().item_long() + 1;
    SavedEntries entries = SavedEntries.of(named(prefix, tensors), rows, width);
    written.put(prefix + ShiraLinear.GAPS, Gaps.of(entries.positions(), width));
    written.put(prefix + ShiraLinear.VALUES, entries.values());
  }

  private static Map<String, Tensor> named(String prefix, Map<String, Tensor> tensors) {
    var named = new LinkedHashMap<String, Tensor>();
    for (String name : new String[] {ShiraLinear.VALUES, ShiraLinear.INDICES}) {
      Tensor tensor = tensors.get(prefix + name);
      if (tensor != null) {
        named.put(name, tensor);
      }
    }
    return named;
  }

  private static Tensor indices(String key, Tensor gaps) {
    if (!Gaps.are(gaps)) {
      throw new ConfigException(key + " is not made of gaps; the file is broken");
    }
    Tensor positions = Gaps.positions(gaps);
    long width = Gaps.width(gaps);
    long rows = positions.max().item_long() / width + 1;
    try (var support = new Support(rows, width, positions)) {
      return support.narrowIndices();
    }
  }
}
