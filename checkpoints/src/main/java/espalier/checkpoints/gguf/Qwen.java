package espalier.checkpoints.gguf;

import java.util.List;
import java.util.Map;

/** Architectures {@code qwen2}, {@code qwen3} and {@code qwen3moe}. */
enum Qwen implements Architecture {
  QWEN2("qwen2", "qwen2", "Qwen2ForCausalLM"),
  QWEN3("qwen3", "qwen3", "Qwen3ForCausalLM"),
  QWEN3_MOE("qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM");

  private final String ggufName;
  private final String modelType;
  private final String architecture;

  Qwen(String ggufName, String modelType, String architecture) {
    this.ggufName = ggufName;
    this.modelType = modelType;
    this.architecture = architecture;
  }

  @Override
  public Converted convert(GgufFile file) {
    var settings = new Settings(file.metadata(), ggufName);
    long experts = this == QWEN3_MOE ? MixtureSettings.experts(settings) : 0;
    DecoderSize size = DecoderSize.read(settings);
    Map<String, Object> config = Decoders.config(file, settings, size, modelType, architecture);
    config.put("hidden_act", "silu");
    config.put("use_sliding_window", false);
    settings.only("attention.sliding_window", 0);
    settings.only("attention.scale", 0);
    settings.only("final_logit_softcapping", 0);
    boolean bias = file.find("blk.0.attn_q.bias").isPresent();
    if (this != QWEN2) {
      config.put("attention_bias", bias);
    }
    if (this == QWEN3_MOE) {
      config.put("num_experts", experts);
      config.put("num_experts_per_tok", settings.integer("expert_used_count"));
      config.put("moe_intermediate_size", settings.integer("expert_feed_forward_length"));
      config.put("norm_topk_prob", true); // not in the file: the reference runtime always does
      config.put("decoder_sparse_step", 1L);
      config.put("mlp_only_layers", List.of());
      MixtureSettings.refuseOthers(settings);
    } else {
      settings.only("expert_count", 0);
      settings.only("expert_used_count", 0);
    }
    settings.refuseUnread();
    return new Converted(config, Mapping.of(file, names(bias), size.layers(), experts));
  }

  @Override
  public NameTable names(long headDim) {
    return names(false);
  }

  private NameTable names(boolean bias) {
    String layer = "model.layers.{n}.";
    NameTable names = Decoders.names(new Layout.AsStored());
    for (String projection : List.of("q", "k", "v")) {
      String file = "blk.{n}.attn_" + projection;
      String huggingFace = layer + "self_attn." + projection + "_proj";
      names.add(file + ".weight", huggingFace + ".weight");
      if (this == QWEN2 || bias) {
        names.add(file + ".bias", huggingFace + ".bias");
      }
    }
    names.add("blk.{n}.attn_output.weight", layer + "self_attn.o_proj.weight");
    if (this != QWEN2) {
      if (bias) {
        names.add("blk.{n}.attn_output.bias", layer + "self_attn.o_proj.bias");
      }
      names
          .add("blk.{n}.attn_q_norm.weight", layer + "self_attn.q_norm.weight")
          .add("blk.{n}.attn_k_norm.weight", layer + "self_attn.k_norm.weight");
    }
    names.add("blk.{n}.ffn_norm.weight", layer + "post_attention_layernorm.weight");
    if (this == QWEN3_MOE) {
      String expert = layer + "mlp.experts.{e}.";
      names
          .add("blk.{n}.ffn_gate_inp.weight", layer + "mlp.gate.weight")
          .add("blk.{n}.ffn_gate_exps.weight", expert + "gate_proj.weight")
          .add("blk.{n}.ffn_up_exps.weight", expert + "up_proj.weight")
          .add("blk.{n}.ffn_down_exps.weight", expert + "down_proj.weight");
    } else {
      Decoders.addFeedForward(names);
    }
    return names;
  }
}
