package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Architecture {@code gemma3}: the text model of Gemma 3. */
final class Gemma3 implements Architecture {

  /**
   * The size whose attention scale is hidden / heads and not the head's. No key says which of the
   * two it is; the reference runtime goes by the number of layers too.
   */
  private static final long LAYERS_OF_27B = 62;

  /** Every sixth layer sees the whole context where the file does not say otherwise. */
  private static final long WHOLE_EVERY = 6;

  @Override
  public Converted convert(GgufFile file) {
    var settings = new Settings(file.metadata(), "gemma3");
    DecoderSize size = DecoderSize.read(settings);
    Map<String, Object> config =
        Decoders.config(file, settings, size, "gemma3_text", "Gemma3ForCausalLM");
    config.put("rope_theta", settings.number("rope.freq_base")); // not 10,000 where it is missing
    config.put("rope_local_base_freq", settings.number("rope.freq_base_swa", 10_000));
    config.put("hidden_activation", "gelu_pytorch_tanh");
    config.put("attention_bias", false);
    config.put("attn_logit_softcapping", null);
    double cap = settings.number("final_logit_softcapping", 0);
    config.put("final_logit_softcapping", cap == 0 ? null : cap);
    config.put("query_pre_attn_scalar", queryScalar(settings, size));
    addWindow(settings, config, size.layers());
    settings.refuseUnread();
    return new Converted(config, Mapping.of(file, names(size.headDim()), size.layers(), 0));
  }

  private static Object queryScalar(Settings settings, DecoderSize size) {
    double scale = settings.number("attention.scale", 0);
    if (scale != 0) {
      return 1 / (scale * scale);
    }
    return size.layers() == LAYERS_OF_27B ? size.hidden() / size.heads() : size.headDim();
  }

  private static void addWindow(Settings settings, Map<String, Object> config, long layers) {
    long window = settings.integer("attention.sliding_window", 0);
    config.put("sliding_window", window == 0 ? null : window);
    config.put("layer_types", layerTypes(settings, layers, window > 0));
  }

  private static List<String> layerTypes(Settings settings, long layers, boolean windows) {
    String key = "attention.sliding_window_pattern";
    if (settings.isList(key)) {
      List<Boolean> sliding = settings.flags(key);
      if (sliding.size() != layers) {
        throw settings.refused(key, "has %d flags for %d layers".formatted(sliding.size(), layers));
      }
      return sliding.stream().map(is -> type(is && windows)).toList();
    }
    long every = Math.max(1, settings.integer(key, WHOLE_EVERY));
    List<String> types = new ArrayList<>();
    for (long layer = 1; layer <= layers; layer++) {
      types.add(type(windows && layer % every != 0));
    }
    return List.copyOf(types);
  }

  private static String type(boolean sliding) {
    return sliding ? "sliding_attention" : "full_attention";
  }

  @Override
  public NameTable names(long headDim) {
    var norm = new Layout.PlusOne();
    String layer = "model.layers.{n}.";
    NameTable names =
        Decoders.names(norm)
            .add("blk.{n}.attn_q.weight", layer + "self_attn.q_proj.weight")
            .add("blk.{n}.attn_k.weight", layer + "self_attn.k_proj.weight")
            .add("blk.{n}.attn_v.weight", layer + "self_attn.v_proj.weight")
            .add("blk.{n}.attn_output.weight", layer + "self_attn.o_proj.weight")
            .add("blk.{n}.attn_q_norm.weight", layer + "self_attn.q_norm.weight", norm)
            .add("blk.{n}.attn_k_norm.weight", layer + "self_attn.k_norm.weight", norm)
            .add(
                "blk.{n}.post_attention_norm.weight",
                layer + "post_attention_layernorm.weight",
                norm)
            .add("blk.{n}.ffn_norm.weight", layer + "pre_feedforward_layernorm.weight", norm)
            .add("blk.{n}.post_ffw_norm.weight", layer + "post_feedforward_layernorm.weight", norm);
    Decoders.addFeedForward(names);
    return names;
  }
}
