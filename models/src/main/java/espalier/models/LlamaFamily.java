package espalier.models;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/** Llama and those that are Llama but for a trait or two, each a traits of traits and defaults. */
final class LlamaFamily {

  static final Names STACK =
      Names.of(
          """
          TOKENS     model.embed_tokens
          BLOCKS     model.layers
          FINAL_NORM model.norm
          """);

  private static final Names BLOCK =
      Names.of(
          """
          Q               self_attn.q_proj
          K               self_attn.k_proj
          V               self_attn.v_proj
          O               self_attn.o_proj
          Q_NORM          self_attn.q_norm
          K_NORM          self_attn.k_norm
          GATE            mlp.gate_proj
          UP              mlp.up_proj
          DOWN            mlp.down_proj
          ATTENTION_NORM  input_layernorm
          FEED_NORM       post_attention_layernorm
          """);

  private LlamaFamily() {}

  static CausalPlan plan(String modelType, ConfigFields in) {
    LlamaTraits traits = LlamaTraits.of(modelType);
    if (traits == null) {
      throw new IllegalStateException(modelType + " is no kin of Llama");
    }
    CommonFields.check(
        in,
        Stream.of("ForCausalLM", CommonFields.CLASSIFIER, "Model")
            .map(traits.architecture()::concat)
            .toList());
    in.only("is_encoder_decoder", false);
    LlamaTraits.Sizes d = traits.defaults();
    int vocabulary = in.size("vocab_size", d.vocabulary());
    int hidden = in.size("hidden_size", d.hidden());
    int layers = in.whole("num_hidden_layers", d.layers(), 1, Heads.MOST_LAYERS);
    int maxPositions = in.size("max_position_embeddings", d.positions());
    Heads heads =
        Heads.read(in, hidden, d.heads(), d.kvHeads(), traits.headDim(), traits.headsDivide());
    boolean bias = bias(traits, in);
    Rope rope = RopeFields.of(in, heads.dim(), maxPositions, traits.theta());
    double dropout = in.probability("attention_dropout", 0);
    int[] windows = windows(traits, in, layers);
    var blocks = new ArrayList<BlockSpec>();
    for (int i = 0; i < layers; i++) {
      var attention =
          new AttentionSpec(
              heads.queries(),
              heads.keys(),
              heads.dim(),
              1 / Math.sqrt(heads.dim()),
              bias,
              bias && traits.bias() != LlamaTraits.Bias.QKV,
              windows[i],
              rope,
              dropout);
      blocks.add(new BlockSpec(attention, feedForward(modelType, traits, in, i)));
    }
    var spec =
        new DecoderSpec(
            new DecoderSpec.EmbeddingSpec(
                vocabulary, hidden, 1, CommonFields.paddingIndex(in, vocabulary), 0),
            hidden,
            new Position.Rotary(),
            true,
            new Norm(Norm.Kind.RMS, in.positive("rms_norm_eps", traits.epsilon())),
            Norm.Placement.BEFORE,
            blocks,
            Dropouts.NONE,
            STACK,
            names(modelType, traits, in));
    return new CausalPlan(spec, in.flag("tie_word_embeddings", false), maxPositions);
  }

  private static Names names(String modelType, LlamaTraits traits, ConfigFields in) {
    if (LlamaMixtures.experts(modelType, in) > 0) {
      return LlamaMixtures.names(modelType);
    }
    return traits.qkNorm() ? BLOCK : BLOCK.without(Part.Q_NORM, Part.K_NORM);
  }

  private static boolean bias(LlamaTraits traits, ConfigFields in) {
    return switch (traits.bias()) {
      case NONE -> {
        in.only("attention_bias", false);
        yield false;
      }
      case QKV -> {
        in.only("attention_bias", true);
        yield true;
      }
      case ASKED -> in.flag("attention_bias", false);
    };
  }

  private static FeedForwardSpec feedForward(
      String modelType, LlamaTraits traits, ConfigFields in, int layer) {
    Activation activation = in.activation("hidden_act", "silu");
    int inner = in.size("intermediate_size", traits.defaults().inner());
    boolean mixture = LlamaMixtures.experts(modelType, in) > 0;
    boolean bias = modelType.equals("llama") && in.flag("mlp_bias", false);
    in.only("mlp_bias", bias);
    return mixture
        ? LlamaMixtures.feedForward(modelType, in, layer, inner, activation)
        : new FeedForwardSpec.Gated(inner, activation, bias);
  }

  /** The window of each block, 0 for none. */
  private static int[] windows(LlamaTraits traits, ConfigFields in, int layers) {
    var windows = new int[layers];
    List<String> types = in.texts("layer_types");
    switch (traits.window()) {
      case NONE -> {
        in.only("sliding_window");
        in.only("use_sliding_window", false);
      }
      case ALL -> Arrays.fill(windows, window(traits, in));
      case SWITCHED -> {
        if (in.flag("use_sliding_window", false)) {
          Arrays.fill(windows, window(traits, in));
        }
      }
      case LISTED -> {
        int window = in.flag("use_sliding_window", false) ? window(traits, in) : 0;
        int first = in.whole("max_window_layers", 28, 0, ConfigFields.LARGEST);
        for (int i = 0; i < layers; i++) {
          boolean sliding =
              types == null
                  ? i >= first
                  : i < types.size() && types.get(i).equals("sliding_attention");
          windows[i] = sliding ? window : 0;
        }
      }
    }
    Heads.checkLayerTypes(in, types, windows);
    return windows;
  }

  // null in the file means no window, but a file without the field has the family's default
  private static int window(LlamaTraits traits, ConfigFields in) {
    return in.present("sliding_window") && !in.has("sliding_window")
        ? 0
        : in.whole("sliding_window", traits.defaults().window(), 0, ConfigFields.LARGEST);
  }
}
