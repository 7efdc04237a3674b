package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the architectures with rotary positions and RMS norms share: Llama, Qwen and Gemma. */
final class Decoders {

  private Decoders() {}

  /** What all three families have in a config, under the same names. */
  static Map<String, Object> config(
      GgufFile file, Settings settings, DecoderSize size, String modelType, String architecture) {
    Map<String, Object> config = start(file, modelType, architecture);
    size.addTo(config);
    config.put("rms_norm_eps", settings.number("attention.layer_norm_rms_epsilon"));
    config.put("max_position_embeddings", settings.integer("context_length"));
    config.put("rope_theta", ropeTheta(settings));
    config.put("rope_scaling", RopeScaling.read(settings));
    settings.harmless("attention.layer_norm_epsilon"); // written beside the one that is used
    refuseWhatNoneHas(settings);
    return config;
  }

  /** The base of the rotary frequencies; files from before it could be chosen do not have it. */
  static double ropeTheta(Settings settings) {
    return settings.number("rope.freq_base", 10_000);
  }

  /** The settings that every config has. */
  static Map<String, Object> start(GgufFile file, String modelType, String architecture) {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("architectures", List.of(architecture));
    config.put("model_type", modelType);
    config.put("vocab_size", vocabulary(file));
    config.put("tie_word_embeddings", file.find("output.weight").isEmpty());
    TokenIds.read(file.metadata()).addTo(config);
    return config;
  }

  /** Embeddings, the final norm, and the head where it is not the embeddings again. */
  static NameTable names(Layout norm) {
    return new NameTable()
        .add("token_embd.weight", "model.embed_tokens.weight")
        .add("output_norm.weight", "model.norm.weight", norm)
        .addOptional("output.weight", "lm_head.weight")
        .ignore("blk.{n}.attn_rot_embd.weight")
        .add("blk.{n}.attn_norm.weight", "model.layers.{n}.input_layernorm.weight", norm);
  }

  /** The gated feed-forward block that is no mixture. */
  static void addFeedForward(NameTable names) {
    names
        .add("blk.{n}.ffn_gate.weight", "model.layers.{n}.mlp.gate_proj.weight")
        .add("blk.{n}.ffn_up.weight", "model.layers.{n}.mlp.up_proj.weight")
        .add("blk.{n}.ffn_down.weight", "model.layers.{n}.mlp.down_proj.weight");
  }

  private static long vocabulary(GgufFile file) {
    // Not the key vocab_size, which some files lack and some have wrong: the table is what counts.
    return file.find("token_embd.weight")
        .orElseThrow(
            () ->
                CheckpointException.in(
                    file.path(), "the tensor token_embd.weight is missing; it is no model file"))
        .shape()
        .getFirst();
  }

  private static void refuseWhatNoneHas(Settings settings) {
    settings.harmless("vocab_size", "tensor_data_layout", "pooling_type");
    settings.only("attention.causal", true);
    settings.only("attention.clamp_kqv", 0);
    settings.only("attention.max_alibi_bias", 0);
    settings.only("attn_logit_softcapping", 0);
    settings.only("router_logit_softcapping", 0);
    settings.only("logit_scale", 1);
    settings.only("residual_scale", 1);
    settings.only("embedding_scale", 1);
    settings.only("nextn_predict_layers", 0);
    settings.only("use_parallel_residual", false);
  }
}
