package espalier.models;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Llama and those that are Llama but for a trait or two, each a row of traits and defaults. */
final class LlamaFamily {

  /** Which of the projections have a bias. */
  private enum Bias {
    NONE,
    QKV,
    /** As the field {@code attention_bias} says. */
    ASKED
  }

  /** Which blocks look back only so far. */
  private enum Window {
    NONE,
    /** All of them, if {@code sliding_window} is a number. */
    ALL,
    /** All of them, if {@code use_sliding_window} too is set. */
    SWITCHED,
    /** Those that {@code layer_types} or {@code max_window_layers} names, if it is switched on. */
    LISTED
  }

  /**
   * Values of the fields that a config may leave out.
   *
   * @param kvHeads 0 for as many as heads
   */
  private record Sizes(
      int vocabulary,
      int hidden,
      int inner,
      int layers,
      int heads,
      int kvHeads,
      int positions,
      int window) {}

  /**
   * A family.
   *
   * @param architecture the first part of the reference's class name
   * @param headDim default width of a head, or 0 for hidden / heads
   * @param headsDivide whether the hidden width must be a multiple of the heads in any case
   * @param qkNorm whether queries and keys are normed
   */
  private record Row(
      String architecture,
      int headDim,
      boolean headsDivide,
      boolean qkNorm,
      Bias bias,
      Window window,
      double epsilon,
      double theta,
      Sizes defaults) {}

  private static final Map<String, Row> ROWS =
      Map.of(
          "llama",
          new Row(
              "Llama",
              0,
              true,
              false,
              Bias.ASKED,
              Window.NONE,
              1e-6,
              1e4,
              new Sizes(32000, 4096, 11008, 32, 32, 0, 2048, 0)),
          "mistral",
          new Row(
              "Mistral",
              0,
              false,
              false,
              Bias.NONE,
              Window.ALL,
              1e-6,
              1e4,
              new Sizes(32000, 4096, 14336, 32, 32, 8, 131072, 4096)),
          "qwen2",
          new Row(
              "Qwen2",
              0,
              false,
              false,
              Bias.QKV,
              Window.LISTED,
              1e-6,
              1e4,
              new Sizes(151936, 4096, 22016, 32, 32, 32, 32768, 4096)),
          "qwen3",
          new Row(
              "Qwen3",
              128,
              false,
              true,
              Bias.ASKED,
              Window.LISTED,
              1e-6,
              1e4,
              new Sizes(151936, 4096, 22016, 32, 32, 32, 32768, 4096)),
          "mixtral",
          new Row(
              "Mixtral",
              0,
              false,
              false,
              Bias.NONE,
              Window.ALL,
              1e-5,
              1e6,
              new Sizes(32000, 4096, 14336, 32, 32, 8, 131072, 0)),
          "qwen3_moe",
          new Row(
              "Qwen3Moe",
              0,
              false,
              true,
              Bias.ASKED,
              Window.SWITCHED,
              1e-6,
              1e4,
              new Sizes(151936, 2048, 6144, 24, 32, 4, 32768, 4096)));

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

  private static final Names MIXTRAL_BLOCK =
      Names.of(
          """
          Q               self_attn.q_proj
          K               self_attn.k_proj
          V               self_attn.v_proj
          O               self_attn.o_proj
          ROUTER          mlp.gate.weight
          EXPERTS_GATE_UP mlp.experts.gate_up_proj
          EXPERTS_DOWN    mlp.experts.down_proj
          ATTENTION_NORM  input_layernorm
          FEED_NORM       post_attention_layernorm
          """);

  private static final Names QWEN_MOE_BLOCK =
      Names.of(
          """
          Q               self_attn.q_proj
          K               self_attn.k_proj
          V               self_attn.v_proj
          O               self_attn.o_proj
          Q_NORM          self_attn.q_norm
          K_NORM          self_attn.k_norm
          EXPERTS_GATE_UP mlp.experts.gate_up_proj
          EXPERTS_DOWN    mlp.experts.down_proj
          ROUTER          mlp.gate.weight
          GATE            mlp.gate_proj
          UP              mlp.up_proj
          DOWN            mlp.down_proj
          ATTENTION_NORM  input_layernorm
          FEED_NORM       post_attention_layernorm
          """);

  private LlamaFamily() {}

  static boolean knows(String modelType) {
    return ROWS.containsKey(modelType);
  }

  static CausalPlan plan(String modelType, ConfigFields in) {
    Row row = row(modelType);
    CommonFields.check(
        in, List.of(row.architecture() + "ForCausalLM", row.architecture() + "Model"));
    in.only("is_encoder_decoder", false);
    Sizes d = row.defaults();
    int vocabulary = in.size("vocab_size", d.vocabulary());
    int hidden = in.size("hidden_size", d.hidden());
    int layers = in.whole("num_hidden_layers", d.layers(), 1, Heads.MOST_LAYERS);
    int maxPositions = in.size("max_position_embeddings", d.positions());
    Heads heads = Heads.read(in, hidden, d.heads(), d.kvHeads(), row.headDim(), row.headsDivide());
    boolean bias = bias(row, in);
    Rope rope = RopeFields.of(in, heads.dim(), maxPositions, row.theta());
    double dropout = in.probability("attention_dropout", 0);
    int[] windows = windows(row, in, layers);
    var blocks = new ArrayList<BlockSpec>();
    for (int i = 0; i < layers; i++) {
      var attention =
          new AttentionSpec(
              heads.queries(),
              heads.keys(),
              heads.dim(),
              1 / Math.sqrt(heads.dim()),
              bias,
              bias && row.bias() != Bias.QKV,
              windows[i],
              rope,
              dropout);
      blocks.add(new BlockSpec(attention, feedForward(modelType, row, in, i)));
    }
    var spec =
        new DecoderSpec(
            new DecoderSpec.EmbeddingSpec(
                vocabulary, hidden, 1, CommonFields.paddingIndex(in, vocabulary), 0),
            hidden,
            new Position.Rotary(),
            true,
            new Norm(Norm.Kind.RMS, in.positive("rms_norm_eps", row.epsilon())),
            Norm.Placement.BEFORE,
            blocks,
            Dropouts.NONE,
            STACK,
            names(modelType, row));
    return new CausalPlan(spec, in.flag("tie_word_embeddings", false), maxPositions);
  }

  /** How many experts are in the file, or 0. */
  static int experts(String modelType, ConfigFields in) {
    return switch (modelType) {
      case "mixtral" -> in.size("num_local_experts", "num_experts", 8);
      case "qwen3_moe" -> in.size("num_experts", "num_local_experts", 128);
      default -> 0;
    };
  }

  private static Row row(String modelType) {
    Row row = ROWS.get(modelType);
    if (row == null) {
      throw new IllegalStateException(modelType + " is no kin of Llama");
    }
    return row;
  }

  private static Names names(String modelType, Row row) {
    return switch (modelType) {
      case "mixtral" -> MIXTRAL_BLOCK;
      case "qwen3_moe" -> QWEN_MOE_BLOCK;
      default -> row.qkNorm() ? BLOCK : BLOCK.without(Part.Q_NORM, Part.K_NORM);
    };
  }

  private static boolean bias(Row row, ConfigFields in) {
    return switch (row.bias()) {
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
      String modelType, Row row, ConfigFields in, int layer) {
    Activation activation = in.activation("hidden_act", "silu");
    int inner = in.size("intermediate_size", row.defaults().inner());
    int experts = experts(modelType, in);
    if (experts == 0) {
      boolean bias = modelType.equals("llama") && in.flag("mlp_bias", false);
      in.only("mlp_bias", bias);
      return new FeedForwardSpec.Gated(inner, activation, bias);
    }
    in.only("mlp_bias", false);
    boolean qwen = modelType.equals("qwen3_moe");
    int chosen = in.size("num_experts_per_tok", qwen ? 8 : 2);
    if (chosen > experts) {
      throw in.wrong("num_experts_per_tok", chosen, "at most as many as experts, " + experts);
    }
    if (!qwen) {
      in.only("norm_topk_prob", true);
      return new FeedForwardSpec.Experts(experts, inner, chosen, true, activation);
    }
    return sparse(in, layer)
        ? new FeedForwardSpec.Experts(
            experts,
            in.size("moe_intermediate_size", 768),
            chosen,
            in.flag("norm_topk_prob", false),
            activation)
        : new FeedForwardSpec.Gated(inner, activation, false);
  }

  /** Whether a block of Qwen's mixture has experts, or a plain feed-forward. */
  private static boolean sparse(ConfigFields in, int layer) {
    return !in.wholes("mlp_only_layers").contains(layer)
        && (layer + 1) % in.size("decoder_sparse_step", 1) == 0;
  }

  /** The window of each block, 0 for none. */
  private static int[] windows(Row row, ConfigFields in, int layers) {
    var windows = new int[layers];
    List<String> types = in.texts("layer_types");
    switch (row.window()) {
      case NONE -> {
        in.only("sliding_window");
        in.only("use_sliding_window", false);
      }
      case ALL -> Arrays.fill(windows, window(row, in));
      case SWITCHED -> {
        if (in.flag("use_sliding_window", false)) {
          Arrays.fill(windows, window(row, in));
        }
      }
      case LISTED -> {
        int window = in.flag("use_sliding_window", false) ? window(row, in) : 0;
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
  private static int window(Row row, ConfigFields in) {
    return in.present("sliding_window") && !in.has("sliding_window")
        ? 0
        : in.whole("sliding_window", row.defaults().window(), 0, ConfigFields.LARGEST);
  }
}
