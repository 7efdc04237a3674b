package espalier.checkpoints.pretrained;

import espalier.models.BlockKind;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** The fields of a {@code config.json} that go by block, once blocks were strung together anew. */
final class BlockFields {

  private static final List<String> COUNTS = List.of("num_hidden_layers", "n_layer");

  private BlockFields() {}

  /**
   * Writes how many blocks there are and of which kind each is. A rule that goes by a block's place
   * would say something else of the new list, so the list itself is written.
   *
   * @param sources for each block the checkpoint's block that it is; empty where that can not
   *     change
   * @param kinds what each block is
   */
  static void rewrite(Map<String, Object> config, List<Integer> sources, List<BlockKind> kinds) {
    if (unchanged(config, sources)) {
      return;
    }
    for (String field : COUNTS) {
      if (config.containsKey(field)) {
        config.put(field, sources.size());
      }
    }
    switch (String.valueOf(config.get("model_type"))) {
      case "gemma3_text", "qwen2", "qwen3" -> config.put("layer_types", types(kinds));
      case "qwen3_moe" -> {
        config.put("layer_types", types(kinds));
        config.put("mlp_only_layers", plain(kinds));
        config.put("decoder_sparse_step", 1);
      }
      default -> {
        if (config.get("layer_types") instanceof List<?>) {
          config.put("layer_types", types(kinds));
        }
      }
    }
  }

  private static boolean unchanged(Map<String, Object> config, List<Integer> sources) {
    return IntStream.range(0, sources.size()).allMatch(i -> sources.get(i) == i)
        && COUNTS.stream()
            .map(config::get)
            .allMatch(count -> count == null || count.equals(sources.size()) || sources.isEmpty());
  }

  private static List<String> types(List<BlockKind> kinds) {
    return kinds.stream()
        .map(kind -> kind.window() > 0 ? "sliding_attention" : "full_attention")
        .toList();
  }

  /** The blocks without experts. */
  private static List<Integer> plain(List<BlockKind> kinds) {
    return IntStream.range(0, kinds.size()).filter(i -> !kinds.get(i).experts()).boxed().toList();
  }
}
