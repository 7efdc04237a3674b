package espalier.models;

import espalier.nn.QuantisedWeight;
import espalier.nn.Weights;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint of T5, whose table of tokens has three names: what the file leaves out, or has with
 * the same numbers, is the one tensor that is shared. A table with other numbers, as merging into
 * one of the names leaves behind, is right against the others, as in the reference.
 */
final class T5Tables implements Weights {

  static final String SHARED = "shared.weight";
  static final String ENCODER = "encoder.embed_tokens.weight";
  static final String DECODER = "decoder.embed_tokens.weight";

  private static final List<String> NAMES = List.of(SHARED, ENCODER, DECODER);

  private final Weights file;
  private final Map<String, Tensor> tables = new HashMap<>();

  T5Tables(Weights file) {
    this.file = file;
    // Read once: a file of another dtype gives a new tensor each time, and nothing would be shared.
    for (String name : NAMES) {
      Tensor table = file.find(name);
      if (table != null) {
        tables.put(name, table);
      }
    }
    NAMES.stream().map(tables::get).filter(Objects::nonNull).findFirst().ifPresent(this::share);
  }

  private void share(Tensor shared) {
    for (String name : NAMES) {
      Tensor own = tables.get(name);
      if (own == null || own.equal(shared)) {
        tables.put(name, shared);
      }
    }
  }

  @Override
  public @Nullable Tensor find(String key) {
    return NAMES.contains(key) ? tables.get(key) : file.find(key);
  }

  @Override
  public @Nullable QuantisedWeight findQuantised(String key) {
    return file.findQuantised(key);
  }
}
