package espalier.models;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Heads of an attention.
 *
 * @param queries query heads
 * @param keys key and value heads
 * @param dim width of a head
 */
record Heads(int queries, int keys, int dim) {

  /** More blocks than any model has; a larger number is a broken file. */
  static final int MOST_LAYERS = 10_000;

  /**
   * Reads and checks them.
   *
   * @param keys default of the key heads, or 0 for as many as query heads
   * @param dim default width, or 0 for hidden / heads
   * @param divide whether hidden must be a multiple of the heads in any case
   */
  static Heads read(ConfigFields in, int hidden, int queries, int keys, int dim, boolean divide) {
    int heads = in.size("num_attention_heads", queries);
    int kvHeads =
        in.present("num_key_value_heads") && !in.has("num_key_value_heads")
            ? heads
            : in.size("num_key_value_heads", keys == 0 ? heads : keys);
    int width = in.size("head_dim", dim == 0 ? Math.max(1, hidden / heads) : dim);
    if (hidden % heads != 0 && (divide || (dim == 0 && !in.has("head_dim")))) {
      throw in.wrong("num_attention_heads", heads, "a divisor of hidden_size, which is " + hidden);
    }
    if (heads % kvHeads != 0) {
      throw in.wrong(
          "num_key_value_heads", kvHeads, "a divisor of num_attention_heads, which is " + heads);
    }
    return new Heads(heads, kvHeads, width);
  }

  /** Heads of a family that has no key heads of its own. */
  static Heads alike(ConfigFields in, String name, int heads, int hidden) {
    if (hidden % heads != 0) {
      throw in.wrong(name, heads, "a divisor of the hidden width, which is " + hidden);
    }
    return new Heads(heads, heads, hidden / heads);
  }

  /** Refuses a list of layer types that says something else than what is built. */
  static void checkLayerTypes(ConfigFields in, @Nullable List<String> types, int[] windows) {
    if (types == null) {
      return;
    }
    if (types.size() != windows.length) {
      throw in.wrong(
          "layer_types",
          types,
          "one entry for each of the %d layers of num_hidden_layers".formatted(windows.length));
    }
    for (int i = 0; i < windows.length; i++) {
      boolean known =
          switch (types.get(i)) {
            case "full_attention" -> windows[i] == 0;
            case "sliding_attention" -> windows[i] > 0;
            default -> false;
          };
      if (!known) {
        throw in.notHonoured("layer_types");
      }
    }
  }
}
