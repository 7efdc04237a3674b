package espalier.checkpoints.pretrained;

import java.util.Collections;
import java.util.List;
import java.util.Map;

/** The fields of a {@code config.json} that go by block, once blocks were strung together anew. */
final class BlockFields {

  private static final List<String> COUNTS = List.of("num_hidden_layers", "n_layer");

  /** Lists with one entry a block. */
  private static final List<String> LISTS = List.of("layer_types", "no_rope_layers");

  private BlockFields() {}

  /**
   * Writes how many blocks there are, and puts lists with one entry a block into their order.
   *
   * @param sources for each block the checkpoint's block that it is; empty where that can not
   *     change
   */
  static void rewrite(Map<String, Object> config, List<Integer> sources) {
    for (String field : COUNTS) {
      if (config.containsKey(field) && !sources.isEmpty()) {
        config.put(field, sources.size());
      }
    }
    for (String field : LISTS) {
      if (config.get(field) instanceof List<?> list
          && !sources.isEmpty()
          && list.size() > Collections.max(sources)) {
        config.put(field, sources.stream().<Object>map(list::get).toList());
      }
    }
  }
}
