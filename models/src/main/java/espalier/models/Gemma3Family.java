package espalier.models;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Gemma 3 without its eyes: four norms a block, local and global blocks with ropes of their own.
 */
final class Gemma3Family {

  private static final Names BLOCK =
      Names.of(
          """
          Q                   self_attn.q_proj
          K                   self_attn.k_proj
          V                   self_attn.v_proj
          O                   self_attn.o_proj
          Q_NORM              self_attn.q_norm
          K_NORM              self_attn.k_norm
          GATE                mlp.gate_proj
          UP                  mlp.up_proj
          DOWN                mlp.down_proj
          ATTENTION_NORM      input_layernorm
          ATTENTION_POST_NORM post_attention_layernorm
          FEED_NORM           pre_feedforward_layernorm
          FEED_POST_NORM      post_feedforward_layernorm
          """);

  private Gemma3Family() {}

  static CausalPlan plan(ConfigFields in) {
    CommonFields.check(
        in,
        List.of("Gemma3ForCausalLM", "Gemma3Text" + CommonFields.CLASSIFIER, "Gemma3TextModel"));
    in.only("is_encoder_decoder", false);
    int vocabulary = in.size("vocab_size", 262_208);
    int hidden = in.size("hidden_size", 2304);
    int layers = in.whole("num_hidden_layers", 26, 1, Heads.MOST_LAYERS);
    int maxPositions = in.size("max_position_embeddings", 131_072);
    Heads heads = Heads.read(in, hidden, 8, 4, 256, true);
    boolean bias = in.flag("attention_bias", false);
    double scale = 1 / Math.sqrt(in.positive("query_pre_attn_scalar", 256));
    double dropout = in.probability("attention_dropout", 0);
    var feedForward =
        new FeedForwardSpec.Gated(
            in.size("intermediate_size", 9216),
            in.activation("hidden_activation", "gelu_pytorch_tanh"),
            false);
    in.only("hidden_act", in.text("hidden_activation", "gelu_pytorch_tanh"));
    Rope global = rope(in, "full_attention", "rope_theta", 1e6, heads.dim(), maxPositions);
    Rope local =
        rope(in, "sliding_attention", "rope_local_base_freq", 1e4, heads.dim(), maxPositions);
    int[] windows = windows(in, layers);
    var blocks = new ArrayList<BlockSpec>();
    for (int window : windows) {
      blocks.add(
          new BlockSpec(
              new AttentionSpec(
                  heads.queries(),
                  heads.keys(),
                  heads.dim(),
                  scale,
                  bias,
                  bias,
                  window,
                  window == 0 ? global : local,
                  dropout),
              feedForward));
    }
    var spec =
        new DecoderSpec(
            new DecoderSpec.EmbeddingSpec(
                vocabulary,
                hidden,
                Math.sqrt(hidden),
                CommonFields.paddingIndex(in, vocabulary),
                0),
            hidden,
            new Position.Rotary(),
            true,
            new Norm(Norm.Kind.RMS_PLUS_ONE, in.positive("rms_norm_eps", 1e-6)),
            Norm.Placement.AROUND,
            blocks,
            Dropouts.NONE,
            LlamaFamily.STACK,
            BLOCK);
    return new CausalPlan(spec, in.flag("tie_word_embeddings", true), maxPositions);
  }

  private static int[] windows(ConfigFields in, int layers) {
    int window = in.size("sliding_window", 4096);
    int pattern = in.size("sliding_window_pattern", "_sliding_window_pattern", 6);
    List<String> types = in.texts("layer_types");
    var windows = new int[layers];
    for (int i = 0; i < layers; i++) {
      boolean sliding =
          types == null
              ? (i + 1) % pattern != 0
              : i < types.size() && types.get(i).equals("sliding_attention");
      windows[i] = sliding ? window : 0;
    }
    Heads.checkLayerTypes(in, types, windows);
    return windows;
  }

  /** One kind of block's rope. The older {@code rope_scaling} is for the global blocks only. */
  private static Rope rope(
      ConfigFields in, String kind, String thetaName, double theta, int dim, int maxPositions) {
    ConfigFields both = in.object("rope_parameters");
    ConfigFields fields = both == null ? null : both.object(kind);
    double base = in.positive(thetaName, theta);
    if (fields != null) {
      base = fields.positive("rope_theta", base);
    }
    ConfigFields scaling = kind.equals("full_attention") ? in.object("rope_scaling") : null;
    @Nullable ConfigFields used = scaling == null ? fields : scaling;
    return RopeFields.of(in, used, dim, maxPositions, base);
  }
}
