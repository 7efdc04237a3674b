"""Reference numbers for the tests of this module, computed with transformers 5.23 and torch 2.10 on a CPU.

    pip install torch==2.10.0 transformers==5.23.0 safetensors
    python golden.py ../resources/espalier/models

Writes rope.json (frequencies of every rope scaling) and, for traits that the fixtures of the parity
folder do not have, one tiny random model a file: NAME.json (its config) and NAME.safetensors with
weight.* (as save_pretrained writes them), in.* (arguments of forward) and out.logits.
"""

import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
         "initializer_range": 0.4}

ROPES = {
    "default": (64, {"rope_type": "default", "rope_theta": 500000.0}, [64]),
    "linear": (64, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, [64]),
    "dynamic": (64, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, [10, 64, 65, 100, 200]),
    "llama3": (8192, {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 256}, [64]),
    "yarn": (512, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}, [64]),
    "yarn_factors": (512, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128,
                           "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}, [64]),
    "yarn_attention": (512, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "attention_factor": 0.7,
                             "original_max_position_embeddings": 128}, [64]),
}

MODELS = {
    "mistral": {"model_type": "mistral", **SMALL, "sliding_window": 3},
    "mistral_head_dim": {"model_type": "mistral", **SMALL, "sliding_window": None, "head_dim": 6},
    "llama_biased": {"model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
    "llama_dynamic": {"model_type": "llama", **SMALL, "max_position_embeddings": 6,
                      "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    "llama_yarn": {"model_type": "llama", **SMALL,
                   "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                                       "original_max_position_embeddings": 8}},
    "qwen2_sliding": {"model_type": "qwen2", **SMALL, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3_moe": {"model_type": "qwen3_moe", **SMALL, "num_hidden_layers": 3, "head_dim": 8, "num_experts": 5,
                  "num_experts_per_tok": 2, "moe_intermediate_size": 12, "norm_topk_prob": True, "mlp_only_layers": [1]},
    "qwen3_moe_plain": {"model_type": "qwen3_moe", **SMALL, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 3,
                        "moe_intermediate_size": 12, "norm_topk_prob": False, "use_sliding_window": True, "sliding_window": 5},
    "gemma3_scaled": {"model_type": "gemma3_text", **SMALL, "head_dim": 8, "num_hidden_layers": 3, "sliding_window": 3,
                      "query_pre_attn_scalar": 5, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                      "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                                          "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "gpt2_scaled": {"model_type": "gpt2", "vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 20,
                    "initializer_range": 0.4, "scale_attn_by_inverse_layer_idx": True, "bos_token_id": 1, "eos_token_id": 2},
    "llama_scores": {"model_type": "llama", **SMALL, "num_labels": 3},
    "mistral_scores": {"model_type": "mistral", **SMALL, "sliding_window": 3, "num_labels": 4},
    "qwen2_scores": {"model_type": "qwen2", **SMALL, "num_labels": 1},
    "qwen3_scores": {"model_type": "qwen3", **SMALL, "head_dim": 8, "num_labels": 3},
    "gemma3_scores": {"model_type": "gemma3_text", **SMALL, "head_dim": 8, "sliding_window": 3, "num_labels": 3,
                      "layer_types": ["sliding_attention", "full_attention"]},
    "opt_after": {"model_type": "opt", "vocab_size": 40, "hidden_size": 16, "word_embed_proj_dim": 12, "num_hidden_layers": 2,
                  "num_attention_heads": 4, "ffn_dim": 24, "max_position_embeddings": 32, "do_layer_norm_before": False,
                  "enable_bias": False, "activation_function": "gelu", "init_std": 0.4},
    "roberta": {"model_type": "roberta", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
                "intermediate_size": 24, "max_position_embeddings": 34, "type_vocab_size": 1, "initializer_range": 0.4,
                "num_labels": 3, "pad_token_id": 1},
    "t5_gated": {"model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_decoder_layers": 3,
                 "num_heads": 4, "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8,
                 "relative_attention_max_distance": 10, "initializer_factor": 1.5, "tie_word_embeddings": False,
                 "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}


def ropes():
    out = {}
    for name, (positions, parameters, lengths) in ROPES.items():
        config = LlamaConfig(hidden_size=64, num_attention_heads=2, max_position_embeddings=positions, rope_parameters=dict(parameters))
        rotary = LlamaRotaryEmbedding(config)
        for length in lengths:
            rotary(torch.zeros(1), torch.arange(length)[None])
            out[f"{name}_{length}"] = {"max_position_embeddings": positions, "rope_parameters": parameters, "length": length,
                                       "attention_factor": rotary.attention_scaling, "frequencies": rotary.inv_freq.tolist()}
    return out


def batch(pad, left):
    ids = torch.randint(3, 40, (3, 9))
    mask = torch.ones_like(ids)
    for row, missing in ((0, 4), (2, 1)):
        where = slice(0, missing) if left else slice(9 - missing, 9)
        ids[row, where], mask[row, where] = pad, 0
    return ids, mask


def build(name, fields, target):
    torch.manual_seed(len(name))
    config = AutoConfig.for_model(**fields)
    auto = {"roberta": AutoModelForSequenceClassification, "t5": AutoModelForSeq2SeqLM}.get(fields["model_type"], AutoModelForCausalLM)
    if name.endswith("_scores"):
        auto = AutoModelForSequenceClassification
    model = auto.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if parameter.mean() > 0.5 else 0.0, 0.2)
    if fields["model_type"] == "t5":  # version 1.1 has a head of its own
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    tensors = {}
    for side in ("right", "left"):
        ids, mask = batch(fields.get("pad_token_id") or 0, side == "left")
        given = {"input_ids": ids, "attention_mask": mask}
        if fields["model_type"] == "t5":
            given["decoder_input_ids"] = torch.randint(3, 40, (3, 7))
            given["decoder_input_ids"][:, 0] = 0
        asked = dict(given)
        if fields["model_type"] == "gpt2":  # as generate does
            asked["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0) if side == "left" else None
        with torch.no_grad():
            tensors[f"out.{side}.logits"] = model(**asked).logits.contiguous()
        tensors.update({f"in.{side}.{key}": value for key, value in given.items()})
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        weights = load_file(f"{folder}/model.safetensors")
        config = pathlib.Path(folder, "config.json").read_text()
    if fields["model_type"] == "t5":
        config = json.dumps({**json.loads(config), "tie_word_embeddings": False, "scale_decoder_outputs": None})
    tensors.update({f"weight.{key}": value.contiguous() for key, value in weights.items()})
    save_file(tensors, target / f"{name}.safetensors")
    (target / f"{name}.json").write_text(config + "\n")
    print(name, sum(t.numel() for t in tensors.values()), sorted(weights)[:3])


def main():
    target = pathlib.Path(sys.argv[1])
    (target / "rope.json").write_text(json.dumps(ropes(), indent=1) + "\n")
    for name, fields in MODELS.items():
        build(name, fields, target)


if __name__ == "__main__":
    main()
