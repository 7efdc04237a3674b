package espalier.checkpoints.gguf;

import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.stream.LongStream;

/** The ids of special tokens that a file names. */
record TokenIds(
    OptionalLong bos, OptionalLong pad, OptionalLong eos, OptionalLong eot, OptionalLong eom) {

  static TokenIds read(GgufMetadata metadata) {
    return new TokenIds(
        find(metadata, "bos"),
        find(metadata, "padding"),
        find(metadata, "eos"),
        find(metadata, "eot"),
        find(metadata, "eom"));
  }

  /**
   * Puts them as a config has them: {@code eos_token_id} is a list if several tokens end a text.
   */
  void addTo(Map<String, Object> config) {
    bos.ifPresent(id -> config.put("bos_token_id", id));
    pad.ifPresent(id -> config.put("pad_token_id", id));
    List<Long> ends =
        LongStream.concat(eos.stream(), LongStream.concat(eot.stream(), eom.stream()))
            .distinct()
            .boxed()
            .toList();
    if (ends.size() == 1) {
      config.put("eos_token_id", ends.getFirst());
    } else if (!ends.isEmpty()) {
      config.put("eos_token_id", ends);
    }
  }

  private static OptionalLong find(GgufMetadata metadata, String name) {
    String key = "tokenizer.ggml." + name + "_token_id";
    return metadata.has(key) ? OptionalLong.of(metadata.integer(key)) : OptionalLong.empty();
  }
}
