package espalier.models;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Fields that mean the same in every family: those that change nothing, and those that must not.
 */
final class CommonFields {

  /** How the reference ends the names of classes that give labels to sequences. */
  static final String CLASSIFIER = "ForSequenceClassification";

  /**
   * They say who wrote the file, how to generate, what to print; nothing that a forward computes.
   */
  private static final Set<String> HARMLESS =
      Set.of(
          "_attn_implementation",
          "_attn_implementation_autoset",
          "_commit_hash",
          "_model_name_or_path",
          "_name_or_path",
          "_num_labels",
          "_sliding_window_pattern",
          "architectures",
          "auto_map",
          "bad_words_ids",
          "begin_suppress_tokens",
          "bos_token_id",
          "cache_implementation",
          "chunk_size_feed_forward",
          "decoder_start_token_id",
          "diversity_penalty",
          "do_sample",
          "dtype",
          "early_stopping",
          "encoder_no_repeat_ngram_size",
          "eos_token_id",
          "exponential_decay_length_penalty",
          "finetuning_task",
          "forced_bos_token_id",
          "forced_eos_token_id",
          "gradient_checkpointing",
          "id2label",
          "init_std",
          "initializer_factor",
          "initializer_range",
          "is_llama_config",
          "label2id",
          "length_penalty",
          "max_length",
          "max_window_layers",
          "min_length",
          "model_type",
          "n_ctx",
          "no_repeat_ngram_size",
          "num_beam_groups",
          "num_beams",
          "num_return_sequences",
          "output_attentions",
          "output_hidden_states",
          "output_past",
          "output_scores",
          "pad_token_id",
          "prefix",
          "pretraining_tp",
          "problem_type",
          "remove_invalid_values",
          "repetition_penalty",
          "return_dict",
          "return_dict_in_generate",
          "router_aux_loss_coef",
          "sep_token_id",
          "suppress_tokens",
          "task_specific_params",
          "temperature",
          "tf_legacy_loss",
          "tokenizer_class",
          "top_k",
          "top_p",
          "torch_dtype",
          "torchscript",
          "transformers.js_config",
          "transformers_version",
          "typical_p",
          "unk_token_id",
          "use_bfloat16",
          "use_cache");

  private CommonFields() {}

  /**
   * Refuses what would change the result in any family if it were set.
   *
   * @param architectures the classes that the family can be built as
   */
  static void check(ConfigFields in, List<String> architectures) {
    in.only("quantization_config");
    in.only("attn_logit_softcapping");
    in.only("final_logit_softcapping");
    in.only("add_cross_attention", false);
    in.only("tie_encoder_decoder", false);
    in.only("cross_attention_hidden_size");
    in.only("use_bidirectional_attention", false);
    in.only("alibi", false);
    in.only("parallel_attn", false);
    in.only("use_parallel_residual", false);
    in.only("qk_layernorm", false);
    in.only("use_qk_norm", false);
    in.only("embedding_multiplier", 1);
    in.only("attention_multiplier");
    in.only("residual_multiplier", 1);
    in.only("logits_scaling", 1);
    in.only("logit_scale", 1);
    in.only("rope_interleaved", false);
    in.only("use_mrope", false);
    in.only("no_rope_layers");
    in.only("attention_chunk_size");
    in.only("output_router_logits", false); // adds the router's loss to the model's
    in.only("router_jitter_noise", 0);
    in.only("layerdrop", 0);
    Object pruned = in.find("pruned_heads");
    if (pruned instanceof Map<?, ?> heads ? !heads.isEmpty() : pruned != null) {
      throw in.notHonoured("pruned_heads");
    }
    List<String> named = in.texts("architectures");
    if (named != null && named.stream().noneMatch(architectures::contains) && !named.isEmpty()) {
      throw new IllegalArgumentException(
          "config field architectures = %s but %s can only be built as %s"
              .formatted(named, in.owner(), String.join(", ", architectures)));
    }
  }

  /** Whether the file says that its model gives labels to sequences. */
  static boolean classifies(ConfigFields in) {
    List<String> named = in.texts("architectures");
    return named != null && named.stream().anyMatch(n -> n.endsWith(CLASSIFIER));
  }

  /** How many labels a classifier has: the reference's 2 if the file names none. */
  static int labels(ConfigFields in) {
    int named = in.find("id2label") instanceof Map<?, ?> map && !map.isEmpty() ? map.size() : 2;
    return in.size("num_labels", named);
  }

  static ModelConfig.Tokens tokens(ConfigFields in) {
    return new ModelConfig.Tokens(
        pad(in),
        in.token("bos_token_id"),
        in.tokens("eos_token_id"),
        in.token("decoder_start_token_id"));
  }

  // Some files have -1 for none.
  private static @Nullable Integer pad(ConfigFields in) {
    if (in.find("pad_token_id") instanceof Integer id && id < 0) {
      return null;
    }
    return in.token("pad_token_id");
  }

  /** The row of the embedding that gets no gradient: the padding token's, or -1. */
  static long paddingIndex(ConfigFields in, int vocabulary) {
    if (in.find("pad_token_id") instanceof Integer id && id < 0) {
      if (id < -vocabulary) {
        throw in.wrong("pad_token_id", id, "a token of the vocabulary");
      }
      return vocabulary + (long) id; // counted from the end, as the reference does
    }
    Integer pad = in.token("pad_token_id");
    if (pad != null && pad >= vocabulary) {
      throw in.wrong("pad_token_id", pad, "a token below vocab_size " + vocabulary);
    }
    return pad == null ? -1 : pad;
  }

  /** Everything in the file, and what of it nobody looked at. */
  static Map<String, @Nullable Object> raw(Map<?, ?> raw) {
    var all = new LinkedHashMap<String, @Nullable Object>();
    raw.forEach((name, value) -> all.put(String.valueOf(name), value));
    return Collections.unmodifiableMap(all);
  }

  static Set<String> unread(ConfigFields in) {
    var unread = new LinkedHashSet<>(in.unread());
    unread.removeAll(HARMLESS);
    return Collections.unmodifiableSet(unread);
  }
}
