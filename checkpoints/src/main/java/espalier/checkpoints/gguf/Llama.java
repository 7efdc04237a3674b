package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Architecture {@code llama}: Llama, Mistral, SmolLM2, Mixtral and their like. A mixture of experts
 * is Mixtral; a sliding window, which plain Llama has not, makes it Mistral.
 */
final class Llama implements Architecture {

  private static final String ROPE_FREQUENCIES = "rope_freqs.weight";

  @Override
  public Converted convert(GgufFile file) {
    var settings = new Settings(file.metadata(), "llama");
    long experts = MixtureSettings.experts(settings);
    long window = settings.integer("attention.sliding_window", 0);
    DecoderSize size = DecoderSize.read(settings);
    Map<String, Object> config = config(file, settings, size, experts, window);
    addRopeFrequencies(file, config, Decoders.ropeTheta(settings), size.headDim());
    settings.only("attention.scale", 0);
    settings.only("final_logit_softcapping", 0);
    boolean bias = file.find("blk.0.attn_q.bias").isPresent();
    boolean gateBias = file.find("blk.0.ffn_gate.bias").isPresent();
    if (experts == 0 && window == 0) {
      config.put("attention_bias", bias);
      config.put("mlp_bias", gateBias);
    } else if (bias || gateBias) {
      throw CheckpointException.in(
          file.path(),
          "the file is a %s with biases, which that model has not; use the model's original files"
              .formatted(config.get("model_type")));
    }
    settings.refuseUnread();
    boolean stacked = file.find("blk.0.ffn_gate_exps.weight").isPresent();
    NameTable names = names(size.headDim(), experts, stacked, bias, gateBias);
    return new Converted(config, Mapping.of(file, names, size.layers(), experts));
  }

  private static Map<String, Object> config(
      GgufFile file, Settings settings, DecoderSize size, long experts, long window) {
    Map<String, Object> config;
    if (experts > 0) {
      config = Decoders.config(file, settings, size, "mixtral", "MixtralForCausalLM");
      config.put("num_local_experts", experts);
      config.put("num_experts_per_tok", settings.integer("expert_used_count"));
      MixtureSettings.refuseOthers(settings);
    } else {
      config =
          window > 0
              ? Decoders.config(file, settings, size, "mistral", "MistralForCausalLM")
              : Decoders.config(file, settings, size, "llama", "LlamaForCausalLM");
      settings.only("expert_used_count", 0);
    }
    if (experts > 0 || window > 0) {
      config.put("sliding_window", window > 0 ? window : null);
    }
    config.put("hidden_act", "silu");
    return config;
  }

  @Override
  public NameTable names(long headDim) {
    return names(headDim, 0, false, false, false);
  }

  private static NameTable names(
      long headDim, long experts, boolean stacked, boolean bias, boolean gateBias) {
    var asStored = new Layout.AsStored();
    var heads = new Layout.InterleavedHeads(headDim);
    String layer = "model.layers.{n}.";
    NameTable names = Decoders.names(asStored).ignore(ROPE_FREQUENCIES);
    addProjection(names, "attn_q", layer + "self_attn.q_proj", heads, bias);
    addProjection(names, "attn_k", layer + "self_attn.k_proj", heads, bias);
    addProjection(names, "attn_v", layer + "self_attn.v_proj", asStored, bias);
    addProjection(names, "attn_output", layer + "self_attn.o_proj", asStored, bias);
    names.add("blk.{n}.ffn_norm.weight", layer + "post_attention_layernorm.weight");
    if (experts > 0) {
      addExperts(names, stacked);
    } else {
      addProjection(names, "ffn_gate", layer + "mlp.gate_proj", asStored, gateBias);
      addProjection(names, "ffn_up", layer + "mlp.up_proj", asStored, gateBias);
      addProjection(names, "ffn_down", layer + "mlp.down_proj", asStored, gateBias);
    }
    return names;
  }

  private static void addProjection(
      NameTable names, String file, String huggingFace, Layout layout, boolean bias) {
    names.add("blk.{n}." + file + ".weight", huggingFace + ".weight", layout);
    if (bias) {
      names.add("blk.{n}." + file + ".bias", huggingFace + ".bias", layout);
    }
  }

  /** Files from before April 2024 have a tensor for each expert. */
  private static void addExperts(NameTable names, boolean stacked) {
    String moe = "model.layers.{n}.block_sparse_moe.";
    String suffix = stacked ? "_exps.weight" : ".{e}.weight";
    names
        .add("blk.{n}.ffn_gate_inp.weight", moe + "gate.weight")
        .add("blk.{n}.ffn_gate" + suffix, moe + "experts.{e}.w1.weight")
        .add("blk.{n}.ffn_down" + suffix, moe + "experts.{e}.w2.weight")
        .add("blk.{n}.ffn_up" + suffix, moe + "experts.{e}.w3.weight");
  }

  /**
   * Llama 3.1's scaling is not in the metadata but in a tensor of what frequencies are divided by.
   */
  private static void addRopeFrequencies(
      GgufFile file, Map<String, Object> config, double theta, long headDim) {
    float[] divisors = divisors(file, headDim);
    if (divisors == null) {
      return;
    }
    if (config.get("rope_scaling") != null) {
      throw CheckpointException.in(
          file.path(),
          "both the tensor rope_freqs.weight and llama.rope.scaling stretch positions;"
              + " one of the two is honoured, use the model's original files");
    }
    config.put(
        "rope_scaling",
        Llama3Rope.from(divisors, theta)
            .orElseThrow(
                () ->
                    CheckpointException.in(
                        file.path(),
                        "no settings of Llama 3.1's rope scaling give the numbers in the tensor"
                            + " rope_freqs.weight; use the model's original files"))
            .config());
  }

  /** The tensor's numbers; null if there is none, or if all are 1 and change nothing. */
  private static float @Nullable [] divisors(GgufFile file, long headDim) {
    TensorInfo info = file.byName().get(ROPE_FREQUENCIES);
    if (info == null) {
      return null;
    }
    if (!info.shape().equals(List.of(headDim / 2))) {
      throw CheckpointException.at(
          file.path(),
          info.offset(),
          "rope_freqs.weight is %s but must be [%d], a number for each frequency of a head"
              .formatted(info.shape(), headDim / 2));
    }
    try (var _ = new PointerScope()) {
      Tensor tensor = file.tensor(ROPE_FREQUENCIES, ScalarType.Float);
      float[] divisors = new float[(int) tensor.numel()];
      tensor.data_ptr_float().get(divisors);
      for (float divisor : divisors) {
        if (divisor != 1) {
          return divisors;
        }
      }
      return null;
    }
  }
}
