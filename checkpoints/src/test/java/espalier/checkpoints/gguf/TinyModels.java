package espalier.checkpoints.gguf;

import java.util.List;

/**
 * A file of each architecture with one layer: 4 numbers wide, two heads of 4 and one for keys and
 * values, three tokens. Each tensor counts 0, 1, 2, ... so that a test sees where a number came
 * from.
 */
final class TinyModels {

  private TinyModels() {}

  static TinyGguf llama() {
    TinyGguf file = attention(sized("llama"), "llama");
    return file.key("llama.rope.dimension_count", 4)
        .key("llama.vocab_size", 3)
        .counting("blk.0.ffn_norm.weight", 4)
        .counting("blk.0.ffn_gate.weight", 6, 4)
        .counting("blk.0.ffn_up.weight", 6, 4)
        .counting("blk.0.ffn_down.weight", 4, 6);
  }

  static TinyGguf mixtral() {
    return experts(llama().key("llama.expert_count", 2).key("llama.expert_used_count", 1), 6)
        .without("blk.0.ffn_gate.weight")
        .without("blk.0.ffn_up.weight")
        .without("blk.0.ffn_down.weight");
  }

  static TinyGguf qwen2() {
    return attention(sized("qwen2"), "qwen2")
        .counting("blk.0.attn_q.bias", 8)
        .counting("blk.0.attn_k.bias", 4)
        .counting("blk.0.attn_v.bias", 4)
        .counting("blk.0.ffn_norm.weight", 4)
        .counting("blk.0.ffn_gate.weight", 6, 4)
        .counting("blk.0.ffn_up.weight", 6, 4)
        .counting("blk.0.ffn_down.weight", 4, 6);
  }

  static TinyGguf qwen3() {
    return headNorms(attention(sized("qwen3"), "qwen3"))
        .counting("blk.0.ffn_norm.weight", 4)
        .counting("blk.0.ffn_gate.weight", 6, 4)
        .counting("blk.0.ffn_up.weight", 6, 4)
        .counting("blk.0.ffn_down.weight", 4, 6);
  }

  static TinyGguf qwen3Moe() {
    return experts(headNorms(attention(sized("qwen3moe"), "qwen3moe")), 2)
        .key("qwen3moe.expert_count", 2)
        .key("qwen3moe.expert_used_count", 1)
        .key("qwen3moe.expert_feed_forward_length", 2)
        .counting("blk.0.ffn_norm.weight", 4);
  }

  static TinyGguf gemma3() {
    return headNorms(attention(sized("gemma3"), "gemma3"))
        .key("gemma3.rope.freq_base", 1e6f)
        .key("gemma3.attention.sliding_window", 512)
        .counting("blk.0.post_attention_norm.weight", 4)
        .counting("blk.0.ffn_norm.weight", 4)
        .counting("blk.0.post_ffw_norm.weight", 4)
        .counting("blk.0.ffn_gate.weight", 6, 4)
        .counting("blk.0.ffn_up.weight", 6, 4)
        .counting("blk.0.ffn_down.weight", 4, 6);
  }

  static TinyGguf gpt2() {
    TinyGguf file =
        new TinyGguf()
            .key("general.architecture", "gpt2")
            .key("gpt2.block_count", 1)
            .key("gpt2.context_length", 5)
            .key("gpt2.embedding_length", 4)
            .key("gpt2.feed_forward_length", 16)
            .key("gpt2.attention.head_count", 2)
            .key("gpt2.attention.layer_norm_epsilon", 1e-5f)
            .counting("token_embd.weight", 3, 4)
            .counting("position_embd.weight", 5, 4)
            .counting("blk.0.attn_qkv.weight", 12, 4)
            .counting("blk.0.attn_qkv.bias", 12)
            .counting("blk.0.ffn_up.weight", 16, 4)
            .counting("blk.0.ffn_up.bias", 16)
            .counting("blk.0.ffn_down.weight", 4, 16)
            .counting("blk.0.ffn_down.bias", 4)
            .counting("blk.0.attn_output.weight", 4, 4)
            .counting("blk.0.attn_output.bias", 4);
    for (String norm : List.of("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")) {
      file.counting(norm + ".weight", 4).counting(norm + ".bias", 4);
    }
    return file;
  }

  private static TinyGguf sized(String architecture) {
    return new TinyGguf()
        .key("general.architecture", architecture)
        .key("general.name", "Tiny")
        .key(architecture + ".block_count", 1)
        .key(architecture + ".context_length", 64)
        .key(architecture + ".embedding_length", 4)
        .key(architecture + ".feed_forward_length", 6)
        .key(architecture + ".attention.head_count", 2)
        .key(architecture + ".attention.head_count_kv", 1)
        .key(architecture + ".attention.key_length", 4)
        .key(architecture + ".attention.value_length", 4)
        .key(architecture + ".attention.layer_norm_rms_epsilon", 1e-6f);
  }

  private static TinyGguf attention(TinyGguf file, String architecture) {
    return file.key(architecture + ".rope.freq_base", 5e5f)
        .key("tokenizer.ggml.bos_token_id", 1)
        .key("tokenizer.ggml.eos_token_id", 2)
        .counting("token_embd.weight", 3, 4)
        .counting("output_norm.weight", 4)
        .counting("blk.0.attn_norm.weight", 4)
        .counting("blk.0.attn_q.weight", 8, 4)
        .counting("blk.0.attn_k.weight", 4, 4)
        .counting("blk.0.attn_v.weight", 4, 4)
        .counting("blk.0.attn_output.weight", 4, 8);
  }

  private static TinyGguf headNorms(TinyGguf file) {
    return file.counting("blk.0.attn_q_norm.weight", 4).counting("blk.0.attn_k_norm.weight", 4);
  }

  private static TinyGguf experts(TinyGguf file, int inner) {
    return file.counting("blk.0.ffn_gate_inp.weight", 2, 4)
        .counting("blk.0.ffn_gate_exps.weight", 2, inner, 4)
        .counting("blk.0.ffn_up_exps.weight", 2, inner, 4)
        .counting("blk.0.ffn_down_exps.weight", 2, 4, inner);
  }
}
