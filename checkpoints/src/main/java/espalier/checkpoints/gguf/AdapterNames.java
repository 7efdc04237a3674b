package espalier.checkpoints.gguf;

import espalier.adapters.UnsupportedAdapterException;
import espalier.models.Model;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;

/**
 * How llama.cpp calls the weights of a model that an adapter may be on.
 *
 * @param architecture the value of {@code general.architecture}
 * @param places by the path of the layer here
 */
record AdapterNames(String architecture, Map<String, Place> places) {

  /**
   * A weight of llama.cpp's.
   *
   * @param name such as {@code blk.0.attn_q.weight}
   * @param layout what its converter does to the rows
   */
  record Place(String name, Layout layout) {

    /** The rows of B [out, r] in llama.cpp's order. */
    Tensor rows(Tensor b) {
      if (!(layout instanceof Layout.InterleavedHeads)) {
        return b;
      }
      var order = new long[(int) b.size(0)];
      for (int row = 0; row < order.length; row++) {
        order[(int) layout.stored(row)] = row;
      }
      return b.index_select(0, Tensor.create(order));
    }
  }

  private static final String WEIGHT = ".weight";

  /**
   * The names for a model.
   *
   * @throws UnsupportedAdapterException if llama.cpp's names for its family are not known
   */
  static AdapterNames of(Model model) {
    String architecture =
        switch (model.modelType()) {
          case "llama", "mistral", "mixtral" -> "llama";
          case "qwen2", "qwen3", "gpt2" -> model.modelType();
          case "qwen3_moe" -> "qwen3moe";
          case "gemma3_text" -> "gemma3";
          default ->
              throw new UnsupportedAdapterException(
                  "llama.cpp's names for a model of the family %s are not known, only those for llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gemma3_text and gpt2; merge the adapter and convert the model"
                      .formatted(model.modelType()));
        };
    NameTable table =
        Objects.requireNonNull(Architecture.known().get(architecture), architecture)
            .names(model.config().headDim());
    var places = new LinkedHashMap<String, Place>();
    for (NameTable.Line line : table.lines()) {
      for (int layer = 0; layer < (line.perLayer() ? model.config().layers() : 1); layer++) {
        String number = Integer.toString(layer);
        String own = line.huggingFace().replace("{n}", number);
        if (own.endsWith(WEIGHT) && !own.contains("{e}")) {
          String path = own.substring(0, own.length() - WEIGHT.length());
          places.put(path, new Place(line.file().replace("{n}", number), line.layout()));
        }
      }
    }
    for (Set<String> tied : model.tiedWeights()) {
      // one tensor there, which looks tokens up and is the head at once
      tied.forEach(name -> places.remove(name.substring(0, name.length() - WEIGHT.length())));
    }
    return new AdapterNames(architecture, places);
  }
}
