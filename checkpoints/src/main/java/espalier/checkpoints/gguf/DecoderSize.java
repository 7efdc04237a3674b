package espalier.checkpoints.gguf;

import java.util.Map;

/** How large a decoder is: what its names and layouts depend on. */
record DecoderSize(
    long layers, long hidden, long intermediate, long heads, long kvHeads, long headDim) {

  static DecoderSize read(Settings settings) {
    long hidden = settings.integer("embedding_length");
    long heads = settings.integer("attention.head_count");
    long kvHeads = settings.integer("attention.head_count_kv", heads);
    if (kvHeads < 1 || heads % kvHeads != 0) {
      throw settings.refused(
          "attention.head_count_kv",
          "is %d but must divide the %d heads of the queries".formatted(kvHeads, heads));
    }
    return new DecoderSize(
        settings.integer("block_count"),
        hidden,
        settings.integer("feed_forward_length"),
        heads,
        kvHeads,
        headDim(settings, hidden / heads));
  }

  /** Under the names that all families have for it. */
  void addTo(Map<String, Object> config) {
    config.put("hidden_size", hidden);
    config.put("intermediate_size", intermediate);
    config.put("num_hidden_layers", layers);
    config.put("num_attention_heads", heads);
    config.put("num_key_value_heads", kvHeads);
    config.put("head_dim", headDim);
  }

  private static long headDim(Settings settings, long absent) {
    long dim = settings.integer("attention.key_length", absent);
    if (dim < 2 || dim % 2 != 0) {
      throw settings.refused(
          "attention.key_length", "is %d but must be an even number from 2 on".formatted(dim));
    }
    settings.only("attention.value_length", dim);
    settings.only("rope.dimension_count", dim); // the whole head turns, not a part of it
    return dim;
  }
}
