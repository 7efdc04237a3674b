package espalier.checkpoints;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/** Which files of a repository make up a model or an adapter. Never a pickle, never code. */
final class HubSelection {

  private static final Set<String> COMPANIONS =
      Set.of(
          "config.json",
          "generation_config.json",
          "adapter_config.json",
          "special_tokens_map.json",
          "added_tokens.json",
          "vocab.json",
          "vocab.txt",
          "merges.txt");

  static final String WHOLE = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";
  static final String ADAPTER = "adapter_model.safetensors";

  private HubSelection() {}

  /** Everything small, and the index of the shards if the weights have one. */
  static List<String> companions(List<String> names) {
    return names.stream()
        .filter(
            name ->
                COMPANIONS.contains(name)
                    || (!name.contains("/")
                        && (name.startsWith("tokenizer") || name.startsWith("chat_template"))
                        && !name.endsWith(".safetensors"))
                    || (name.equals(INDEX) && !names.contains(WHOLE)))
        .sorted()
        .toList();
  }

  /** Whether {@link #companions} holds an index that says which files the weights are in. */
  static boolean hasIndex(List<String> names) {
    return names.contains(INDEX) && !names.contains(WHOLE);
  }

  /**
   * The weights of a repository without index: the file of the usual name, since others beside it
   * often hold the same weights for other programs; else every safetensors file of the top folder.
   */
  static List<String> weights(String source, List<String> names) {
    var usual = new ArrayList<String>();
    for (String name : List.of(WHOLE, ADAPTER)) {
      if (names.contains(name)) {
        usual.add(name);
      }
    }
    if (!usual.isEmpty()) {
      return usual;
    }
    List<String> all =
        names.stream()
            .filter(name -> name.endsWith(".safetensors") && !name.contains("/"))
            .sorted()
            .toList();
    if (all.isEmpty()) {
      PickleRefusal.check(
          source, names.stream().filter(name -> !name.endsWith(".safetensors")).toList());
      throw new CheckpointException(source + ": " + nothing(names));
    }
    return all;
  }

  private static String nothing(List<String> names) {
    List<String> gguf = names.stream().filter(name -> name.endsWith(".gguf")).sorted().toList();
    return gguf.isEmpty()
        ? "the repository has no safetensors file in its top folder, so there are no weights to"
            + " read; name another repository or revision"
        : ("the repository has GGUF files only; download the one you want (%s) and name it by its"
                + " path")
            .formatted(String.join(", ", gguf.subList(0, Math.min(5, gguf.size()))));
  }
}
