package espalier.models;

/** The kin of Llama whose blocks have experts. */
final class LlamaMixtures {

  private static final Names MIXTRAL =
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

  private static final Names QWEN =
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

  private LlamaMixtures() {}

  /** How many experts are in the file, or 0. */
  static int experts(String modelType, ConfigFields in) {
    return switch (modelType) {
      case "mixtral" -> in.size("num_local_experts", "num_experts", 8);
      case "qwen3_moe" -> in.size("num_experts", "num_local_experts", 128);
      default -> 0;
    };
  }

  /** Where the parts of a block lie. */
  static Names names(String modelType) {
    return modelType.equals("mixtral") ? MIXTRAL : QWEN;
  }

  /**
   * The feed-forward of a block.
   *
   * @param inner its width, or that of each of Mixtral's experts
   */
  static FeedForwardSpec feedForward(
      String modelType, ConfigFields in, int layer, int inner, Activation activation) {
    int experts = experts(modelType, in);
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
}
