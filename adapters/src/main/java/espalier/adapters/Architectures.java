package espalier.adapters;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The layers that usually get an adapter, by architecture. */
final class Architectures {

  private static final Map<String, Modules> USUAL = new HashMap<>();

  /** Architectures whose forward passes by some layers, by the names of these layers. */
  private static final Set<String> STATE_SPACE =
      Set.of("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h");

  private static final Set<String> BYPASSED = Set.of("out_proj", "conv1d");

  static {
    usual(
        List.of("q_proj", "v_proj"),
        "llama",
        "llama4",
        "mistral",
        "mixtral",
        "gemma",
        "gemma2",
        "gemma3_text",
        "qwen2",
        "qwen3",
        "opt",
        "gptj",
        "gpt_neo",
        "bart",
        "stablelm");
    usual(List.of("q_proj", "k_proj", "v_proj", "o_proj"), "nemotron_h");
    usual(List.of("q_proj", "v_proj", "fc1", "fc2"), "phi");
    usual(List.of("q", "v"), "t5", "mt5");
    usual(List.of("q", "v", "q_proj", "v_proj"), "blip-2");
    usual(List.of("c_attn"), "gpt2", "gpt_bigcode");
    usual(List.of("c_proj", "c_attn"), "btlm");
    usual(
        List.of("query_key_value"),
        "bloom",
        "gpt_neox",
        "chatglm",
        "falcon",
        "RefinedWeb",
        "RefinedWebModel");
    usual(List.of("Wqkv"), "mpt");
    usual(List.of("qkv_proj"), "codegen");
    usual(List.of("query", "value"), "bert", "roberta", "xlm-roberta", "electra", "layoutlm");
    usual(List.of("query_proj", "value_proj"), "deberta-v2");
    usual(List.of("in_proj"), "deberta");
    usual(List.of("key", "value", "receptance", "output"), "rwkv");
    usual(List.of("r_proj", "k_proj", "v_proj", "o_proj", "key", "value"), "rwkv7");
    USUAL.put("gemma4", new Modules.Matching(".*language_model\\..*\\.(q_proj|v_proj)"));
    // not in the reference's table
    usual(List.of("q_proj", "v_proj"), "qwen3_moe", "qwen2_moe", "smollm3", "granite", "cohere");
    usual(List.of("qkv_proj"), "phi3");
  }

  private Architectures() {}

  private static void usual(List<String> names, String... types) {
    for (String type : types) {
      USUAL.put(type, new Modules.Named(names));
    }
  }

  /** The usual layers of an architecture, or null. */
  static @Nullable Modules usual(String modelType) {
    return USUAL.get(modelType);
  }

  /** Whether the architecture computes past this layer, so that an adapter would do nothing. */
  static boolean bypasses(String modelType, String path) {
    return STATE_SPACE.contains(modelType)
        && BYPASSED.contains(path.substring(path.lastIndexOf('.') + 1));
  }
}
