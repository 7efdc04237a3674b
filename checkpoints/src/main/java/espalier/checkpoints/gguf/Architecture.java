package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.Map;
import java.util.TreeMap;

/** How files of one architecture say what Hugging Face says in a config and in names. */
sealed interface Architecture permits Llama, Qwen, Gemma3, Gpt2 {

  /**
   * Reads a file of this architecture.
   *
   * @throws CheckpointException naming the key or the tensor, if the file says something of the
   *     model that its form in Hugging Face cannot say
   */
  Converted convert(GgufFile file);

  /**
   * The names of a model's weights, but for those of experts and of biases.
   *
   * @param headDim rows of a head
   */
  NameTable names(long headDim);

  /** All by their name in a file. */
  static Map<String, Architecture> known() {
    Map<String, Architecture> known = new TreeMap<>();
    known.put("llama", new Llama());
    known.put("qwen2", Qwen.QWEN2);
    known.put("qwen3", Qwen.QWEN3);
    known.put("qwen3moe", Qwen.QWEN3_MOE);
    known.put("gemma3", new Gemma3());
    known.put("gpt2", new Gpt2());
    return known;
  }

  /** The architecture that the file names. */
  static Architecture of(GgufFile file) {
    Map<String, Architecture> known = known();
    String name = file.metadata().string("general.architecture");
    Architecture architecture = known.get(name);
    if (architecture == null) {
      throw CheckpointException.in(
          file.path(),
          "general.architecture is %s, but %s are read; use the model's original files"
              .formatted(name, String.join(", ", known.keySet())));
    }
    return architecture;
  }
}
